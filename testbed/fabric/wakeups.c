/* Preloaded into ovs-vswitchd: its main thread begins a round at most once an interval.
 *
 * On the userspace datapath one round asks every port of every switch for frames, some 80 in a fabric of 4x4x4, and
 * vswitchd makes one for each frame that arrives anywhere. Frames that arrive within an interval then share a round.
 * Timers and immediate wake-ups wait for the interval as well. Built by testbed/system/preload.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000L

typedef int poll_fn(struct pollfd *, nfds_t, int);

static poll_fn *libc_poll;
static long interval_ns;

__attribute__((constructor)) static void find(void) {
    const char *text = getenv("GSE_WAKE_INTERVAL_NS");

    libc_poll = (poll_fn *) dlsym(RTLD_NEXT, "poll");
    interval_ns = text ? strtol(text, NULL, 10) : 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    static struct timespec due; /* the main thread's alone; zero, long past, at first */
    int result, error;

    /* not remembered: --detach forks, and the child is another main thread */
    if (interval_ns <= 0 || interval_ns >= NS_PER_S || syscall(SYS_gettid) != getpid()) {
        return libc_poll(fds, count, timeout_ms);
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {
        /* OVS's handlers only write to a pipe, which poll will find */
    }
    result = libc_poll(fds, count, timeout_ms);
    error = errno;
    clock_gettime(CLOCK_MONOTONIC, &due);
    due.tv_nsec += interval_ns;
    if (due.tv_nsec >= NS_PER_S) {
        due.tv_nsec -= NS_PER_S;
        due.tv_sec++;
    }
    errno = error;
    return result;
}
