/* Preloaded into ovs-vswitchd: its main thread begins a round at most once an interval, on average.
 *
 * On the userspace datapath one round asks every port of every switch for frames, some 80 in a fabric of 4x4x4, and
 * vswitchd makes one for each frame that arrives anywhere. Frames that arrive within an interval then share a round.
 * Rounds not needed are saved up to a few, so that a frame that comes alone does not wait at any switch on its way: all
 * of them are this thread. Timers and immediate wake-ups count as well. Built by testbed/system/preload.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define SAVED_ROUNDS 4 /* leaf, spine, leaf, and one to begin with */

typedef int poll_fn(struct pollfd *, nfds_t, int);

static poll_fn *libc_poll;
static long long interval_ns;

static long long now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

__attribute__((constructor)) static void find(void) {
    const char *text = getenv("GSE_WAKE_INTERVAL_NS");

    libc_poll = (poll_fn *) dlsym(RTLD_NEXT, "poll");
    interval_ns = text ? strtoll(text, NULL, 10) : 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    static long long spent_ns; /* the main thread's alone: until when the rounds so far would fill the time */
    long long from_ns, at_ns;
    struct timespec from;
    int result, error;

    /* not remembered: --detach forks, and the child is another main thread */
    if (interval_ns <= 0 || interval_ns >= NS_PER_S || syscall(SYS_gettid) != getpid()) {
        return libc_poll(fds, count, timeout_ms);
    }
    from_ns = spent_ns - SAVED_ROUNDS * interval_ns;
    if (from_ns > 0) {
        from.tv_sec = from_ns / NS_PER_S;
        from.tv_nsec = from_ns % NS_PER_S;
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &from, NULL) == EINTR) {
            /* OVS's handlers only write to a pipe, which poll will find */
        }
    }
    result = libc_poll(fds, count, timeout_ms);
    error = errno;
    at_ns = now_ns();
    spent_ns = (spent_ns > at_ns ? spent_ns : at_ns) + interval_ns;
    errno = error;
    return result;
}
