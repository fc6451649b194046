from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import ControllerError, NetworkError, WorkloadError
from testbed.system.process import Child, Process
from testbed.system.supervisor import Supervisor

SLEEP = ["sleep", "60"]
# answers every command with the same as an event; ends with stdin
ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"event": "echo", **json.loads(line)}), flush=True)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(time.monotonic()) as one:
        yield one


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run_for(supervisor: Supervisor, duration_s: float) -> None:
    over: list[bool] = []
    supervisor.call_at(time.monotonic() + duration_s, lambda: over.append(True))
    supervisor.run_until(lambda: bool(over), duration_s + 5, "the time to pass")


def test_commands_are_answered_by_events(supervisor: Supervisor) -> None:
    events: list[dict[str, object]] = []
    child = supervisor.start("rank", python(ECHO), on_event=events.append)
    child.send({"n": 1})
    child.send({"n": 2})
    supervisor.run_until(lambda: len(events) == 2, 10, "two answers")
    assert events == [{"event": "echo", "n": 1}, {"event": "echo", "n": 2}]


def test_a_killed_process_is_named_with_host_signal_and_time(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", SLEEP, name="rank 3", host="h4")
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(WorkloadError, match=rf"rank 3 on h4 \(pid {child.pid}\) was killed by SIGKILL at t=\d+\.\d+ s"):
        supervisor.run_until(lambda: False, 10, "nothing")
    death = supervisor.deaths[0]
    assert (death.role, death.host, death.status) == ("rank", "h4", -signal.SIGKILL)
    assert 0 < death.t_s < 5


@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_any_moment_is_noticed_at_once(supervisor: Supervisor, seed: int) -> None:
    events: list[dict[str, object]] = []
    children = [supervisor.start("rank", python(ECHO), name=f"rank {i}", on_event=events.append) for i in range(3)]
    victim = random.Random(seed).choice(children)
    killed_s: list[float] = []

    def kill() -> None:
        os.kill(victim.pid, signal.SIGKILL)
        killed_s.append(time.monotonic())

    def talk() -> None:
        for child in children:
            child.send({"n": len(events)})
        supervisor.call_at(time.monotonic() + 0.002, talk)

    talk()
    supervisor.call_at(time.monotonic() + random.Random(seed).random() / 5, kill)
    with pytest.raises(WorkloadError, match=rf"^{victim.name} .*SIGKILL"):
        supervisor.run_until(lambda: False, 10, "nothing")
    assert time.monotonic() - killed_s[0] < 2


def test_an_exit_shows_status_and_last_stderr_lines(supervisor: Supervisor) -> None:
    code = "import sys; print(*range(100), sep='\\n', file=sys.stderr); sys.exit(3)"
    supervisor.start("probes", python(code))
    with pytest.raises(WorkloadError, match=r"(?s)probes .*exited with status 3.*92\n93\n.*99"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_leaving_early_with_status_0_is_a_failure_too(supervisor: Supervisor) -> None:
    supervisor.start("sampler", ["true"])
    with pytest.raises(WorkloadError, match="sampler .* exited with status 0"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_who_may_exit_does_so_but_not_with_an_error(supervisor: Supervisor) -> None:
    good = supervisor.start("rank", ["true"])
    good.may_exit = True
    supervisor.run_until(lambda: not good.alive, 10, "the end")
    bad = supervisor.start("rank", ["false"])
    bad.may_exit = True
    with pytest.raises(WorkloadError, match="status 1"):
        supervisor.run_until(lambda: not bad.alive, 10, "the end")


def test_the_role_decides_the_error(supervisor: Supervisor) -> None:
    supervisor.start("gsos", ["false"])
    with pytest.raises(ControllerError, match="gsos"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_a_daemon_started_elsewhere_is_watched(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text("starting\nassertion failed\n")
    daemon = subprocess.Popen(SLEEP)
    supervisor.watch_pid("vswitchd", daemon.pid, log_path=log)
    daemon.kill()
    with pytest.raises(NetworkError, match=r"(?s)vswitchd .* was killed by SIGKILL.*assertion failed"):
        supervisor.run_until(lambda: False, 10, "nothing")
    daemon.wait()


def test_a_watched_grandchild_has_no_status_to_tell(supervisor: Supervisor) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout
        pid = int(shell.stdout.readline())
        supervisor.watch_pid("vswitchd", pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(NetworkError, match="status unknown"):
            supervisor.run_until(lambda: False, 10, "nothing")


def test_a_watched_grandchild_that_may_exit_is_no_failure_however_it_ended(supervisor: Supervisor) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout
        watched = supervisor.watch_pid("rank", int(shell.stdout.readline()))
        watched.may_exit = True
        os.kill(watched.pid, signal.SIGKILL)
        supervisor.run_until(lambda: not watched.alive, 10, "the end")
    run_for(supervisor, 0.05)
    assert supervisor.deaths == []


def test_a_daemon_that_is_gone_cannot_be_watched(supervisor: Supervisor) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(NetworkError, match="is not running"):
        supervisor.watch_pid("ovsdb", gone.pid)


def test_watched_daemons_are_left_alone() -> None:
    daemon = subprocess.Popen(SLEEP)
    with Supervisor(time.monotonic()) as supervisor:
        supervisor.watch_pid("vswitchd", daemon.pid)
    assert daemon.poll() is None
    daemon.kill()
    daemon.wait()


def test_a_death_may_be_only_recorded(supervisor: Supervisor) -> None:
    child = supervisor.start("gsos", SLEEP, on_death="record")
    os.kill(child.pid, signal.SIGKILL)
    supervisor.run_until(lambda: not child.alive, 10, "the end")
    run_for(supervisor, 0.05)
    assert [death.role for death in supervisor.deaths] == ["gsos"]


def test_what_may_die_can_be_started_again(supervisor: Supervisor) -> None:
    started = []

    def start() -> None:
        started.append(supervisor.start("gsp", SLEEP, on_death="record", after_death=start))

    start()
    os.kill(started[0].pid, signal.SIGKILL)
    supervisor.run_until(lambda: len(started) == 2, 10, "another one")
    run_for(supervisor, 0.05)
    assert started[1].alive
    assert [death.pid for death in supervisor.deaths] == [started[0].pid]
    supervisor.stop(started[1])
    run_for(supervisor, 0.05)
    assert len(started) == 2  # ended by us: not started again


def test_a_stopped_one_has_ended_before_another_takes_its_place(supervisor: Supervisor) -> None:
    """It would go on beside it once it is continued."""
    started: list[Child] = []
    lived: list[bool] = []

    def start() -> None:
        lived.extend(child.alive for child in started)
        started.append(supervisor.start("gsp", SLEEP, on_death="record", after_death=start))

    start()
    os.kill(started[0].pid, signal.SIGSTOP)
    supervisor.run_until(lambda: len(started) == 2, 20, "another one")
    assert lived == [False]
    assert started[0].popen.returncode == -signal.SIGKILL
    run_for(supervisor, 0.05)
    assert len(started) == 2
    assert [(death.pid, death.how) for death in supervisor.deaths] == [
        (started[0].pid, "has been stopped (by SIGSTOP or a debugger)")
    ]


def test_the_first_cause_is_told_before_its_consequences(supervisor: Supervisor) -> None:
    talker = """
import json, os, select, sys
pidfd = os.pidfd_open(int(sys.argv[1]))
select.select([pidfd], [], [])
print(json.dumps({"event": "error", "message": "my peer is gone"}), flush=True)
sys.exit(1)
"""
    victim = supervisor.start("rank", SLEEP, name="rank 5")
    for rank in (4, 6):
        supervisor.start("rank", [*python(talker), str(victim.pid)], name=f"rank {rank}", on_event=lambda _e: None)
    run_for(supervisor, 0.2)
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(WorkloadError) as caught:
        supervisor.run_until(lambda: False, 10, "nothing")
    first, *others = str(caught.value).splitlines()
    assert first.startswith("rank 5") and "SIGKILL" in first
    assert len(others) == 2 and all("failed" in line and line.endswith("my peer is gone") for line in others)


def test_an_account_printed_just_before_the_end_is_heard(supervisor: Supervisor) -> None:
    code = """
import json
for n in range(5000):
    print(json.dumps({"event": "n", "n": n}))
print(json.dumps({"event": "error", "message": "disk full"}))
raise SystemExit(1)
"""
    events: list[dict[str, object]] = []
    supervisor.start("sampler", python(code), on_event=events.append)
    with pytest.raises(WorkloadError, match="disk full"):
        supervisor.run_until(lambda: False, 10, "nothing")
    assert len(events) == 5000


def test_silence_is_a_timeout_that_names_who_was_awaited(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", SLEEP, name="rank 1", host="h2", on_event=lambda _event: None)
    with pytest.raises(WorkloadError, match=r"waited 0.1 s in vain for 'prepared' from rank 1 on h2 \(pid \d+\)"):
        supervisor.run_until(lambda: False, 0.1, "'prepared'", lambda: [child])


@pytest.mark.parametrize("garbage", ["hello", "[1, 2]", '{"n": 1}', '{"event": 3}', "\xff\xfe", '{"event": "x"'])
def test_garbage_on_stdout_is_a_failure_that_shows_it(supervisor: Supervisor, garbage: str) -> None:
    code = f"import sys, time; print({garbage!r}, flush=True); time.sleep(60)"
    supervisor.start("rank", python(code), on_event=lambda _event: None)
    with pytest.raises(WorkloadError, match="expected a JSON event"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_a_line_without_end_is_a_failure(supervisor: Supervisor) -> None:
    code = "import os\nwhile True: os.write(1, b'x' * 65536)"
    supervisor.start("rank", python(code), on_event=lambda _event: None)
    with pytest.raises(WorkloadError, match="line longer than 1048576 bytes"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_a_child_that_closes_its_stdin_and_lives_is_named(supervisor: Supervisor) -> None:
    code = 'import os, time; os.close(0); print(\'{"event": "closed"}\', flush=True); time.sleep(60)'
    events: list[dict[str, object]] = []
    child = supervisor.start("rank", python(code), name="rank 2", on_event=events.append)
    supervisor.run_until(lambda: bool(events), 10, "the event")
    with pytest.raises(WorkloadError, match="rank 2 .*closed its stdin"):
        child.send({"command": "connect"})


def test_sending_to_a_dead_child_reports_its_death_not_the_pipe(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", SLEEP, on_event=lambda _event: None)
    os.kill(child.pid, signal.SIGKILL)
    child.send({"command": "connect"})
    with pytest.raises(WorkloadError, match="SIGKILL"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_a_child_that_does_not_read_blocks_nobody_and_gets_all_later(supervisor: Supervisor) -> None:
    events: list[dict[str, object]] = []
    child = supervisor.start("rank", python(ECHO), on_event=events.append)
    os.kill(child.pid, signal.SIGSTOP)
    for n in range(2000):  # 2000 x 100 bytes: more than a pipe holds
        child.send({"n": n, "padding": "x" * 80})
    os.kill(child.pid, signal.SIGCONT)
    supervisor.run_until(lambda: len(events) == 2000, 20, "2000 answers")
    assert [event["n"] for event in events] == list(range(2000))


def test_a_child_killed_with_commands_still_waiting_is_reported_by_its_death(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", python(ECHO), on_event=lambda _event: None)
    os.kill(child.pid, signal.SIGSTOP)
    for _ in range(2000):
        child.send({"padding": "x" * 80})
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(WorkloadError, match="SIGKILL"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_a_child_that_closes_its_stdin_with_commands_waiting_is_named(supervisor: Supervisor) -> None:
    code = """
import os, sys, time
print('{"event": "ready"}', flush=True)
time.sleep(0.3)
os.close(0)
time.sleep(60)
"""
    events: list[dict[str, object]] = []
    child = supervisor.start("rank", python(code), on_event=events.append)
    supervisor.run_until(lambda: bool(events), 10, "the event")
    for _ in range(2000):
        child.send({"padding": "x" * 80})
    with pytest.raises(WorkloadError, match="has closed its stdin but lives on"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_timers_fire_in_order_once_and_not_when_cancelled(supervisor: Supervisor) -> None:
    fired: list[str] = []
    now_s = time.monotonic()
    supervisor.call_at(now_s + 0.04, lambda: fired.append("second"))
    supervisor.call_at(now_s + 0.02, lambda: fired.append("first"))
    cancelled = supervisor.call_at(now_s + 0.03, lambda: fired.append("cancelled"))
    cancelled.cancel()
    supervisor.call_at(now_s + 0.06, lambda: fired.append("last"))
    supervisor.run_until(lambda: "last" in fired, 5, "the timers")
    assert fired == ["first", "second", "last"]
    assert 0.06 <= time.monotonic() - now_s < 1


def test_what_a_callback_raises_reaches_the_caller(supervisor: Supervisor) -> None:
    supervisor.call_at(time.monotonic(), lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        supervisor.run_until(lambda: False, 5, "nothing")


def test_stop_asks_first_and_kills_who_does_not_listen(supervisor: Supervisor) -> None:
    polite = supervisor.start("rank", SLEEP)
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"event": "deaf"}', flush=True)
time.sleep(60)
"""
    events: list[dict[str, object]] = []
    deaf = supervisor.start("rank", python(code), on_event=events.append)
    supervisor.run_until(lambda: bool(events), 10, "the event")
    assert supervisor.stop(polite) == -signal.SIGTERM
    assert supervisor.stop(deaf, timeout_s=0.1) == -signal.SIGKILL
    run_for(supervisor, 0.02)
    assert supervisor.deaths == []


def test_close_leaves_no_process_and_no_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd"))
    supervisor = Supervisor(time.monotonic())
    children = [supervisor.start("rank", SLEEP), supervisor.start("rank", python(ECHO), on_event=lambda _e: None)]
    stopped = supervisor.start("rank", SLEEP)
    os.kill(stopped.pid, signal.SIGSTOP)
    supervisor.close(timeout_s=0.2)
    supervisor.close()
    assert not any(is_running(child.pid) for child in [*children, stopped])
    assert set(os.listdir("/proc/self/fd")) == before


def test_output_goes_where_it_was_asked_to(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import sys; print('result'); print('trouble', file=sys.stderr)"
    child = supervisor.start("background", python(code), stdout_path=tmp_path / "out", log_path=tmp_path / "log")
    child.may_exit = True
    supervisor.run_until(lambda: not child.alive, 10, "the end")
    assert (tmp_path / "out").read_text() == "result\n"
    assert (tmp_path / "log").read_text() == "trouble\n"


def test_a_process_may_give_its_account_elsewhere(supervisor: Supervisor) -> None:
    supervisor.start("background", ["false"], account=lambda: "no route to host")
    with pytest.raises(WorkloadError, match=r"status 1 at t=.*: no route to host"):
        supervisor.run_until(lambda: False, 10, "nothing")


def test_something_may_be_done_in_the_child_first(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start("background", ["pwd"], stdout_path=tmp_path / "out", preexec=lambda: os.chdir("/"))
    child.may_exit = True
    supervisor.run_until(lambda: not child.alive, 10, "the end")
    assert (tmp_path / "out").read_text() == "/\n"


def test_a_child_started_without_events_cannot_be_spoken_to(supervisor: Supervisor) -> None:
    with pytest.raises(ValueError, match="without on_event"):
        supervisor.start("background", SLEEP).send({"command": "exit"})


def test_what_cannot_be_started_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(ControllerError, match=r"cannot start gsos \(/nonexistent\)"):
        supervisor.start("gsos", ["/nonexistent"])


def test_ctrl_c_in_the_terminal_does_not_reach_children(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", SLEEP)
    assert os.getsid(child.pid) != os.getsid(0)


def test_a_stopped_process_is_named_while_nothing_else_happens(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", SLEEP, name="rank 3", host="h4")
    os.kill(child.pid, signal.SIGSTOP)
    began_s = time.monotonic()
    with pytest.raises(WorkloadError, match=rf"^rank 3 on h4 \(pid {child.pid}\) has been stopped \(by SIGSTOP"):
        supervisor.run_until(lambda: False, 60, "anything")
    assert time.monotonic() - began_s < 30


def test_a_process_stopped_for_a_moment_is_left_alone(supervisor: Supervisor) -> None:
    child = supervisor.start("rank", SLEEP)
    os.kill(child.pid, signal.SIGSTOP)
    run_for(supervisor, 0.4)
    os.kill(child.pid, signal.SIGCONT)
    run_for(supervisor, 1.6)
    assert supervisor.deaths == []
    assert list(supervisor.stops) == [child]


def test_a_process_stopped_again_and_again_falls_behind_and_lives(supervisor: Supervisor) -> None:
    child, other = supervisor.start("rank", SLEEP, name="rank 3", host="h4"), supervisor.start("rank", SLEEP)
    told: list[Process] = []
    supervisor.on_behind = lambda process, _t_s: told.append(process)
    began_s = time.monotonic()
    while not told and time.monotonic() - began_s < 20:
        os.kill(child.pid, signal.SIGSTOP)
        run_for(supervisor, 0.15)
        os.kill(child.pid, signal.SIGCONT)
        run_for(supervisor, 0.1)
    assert told == [child]
    assert time.monotonic() - began_s < 5
    run_for(supervisor, 1.0)
    assert told == [child], "told once"
    assert supervisor.deaths == [] and other not in supervisor.stops
    assert supervisor.stop_counts[child] >= 4


def test_a_stop_shorter_than_any_look_is_noticed(supervisor: Supervisor) -> None:
    child, other = supervisor.start("rank", SLEEP), supervisor.start("rank", SLEEP)
    supervisor.look_for_stops()
    assert supervisor.stops == {}
    os.kill(child.pid, signal.SIGSTOP)
    while not child.is_stopped():
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGCONT)
    assert supervisor.look_for_stops() == []
    assert list(supervisor.stops) == [child]
    assert other.alive


def test_a_stopped_process_whose_death_is_only_recorded_is_recorded_once(supervisor: Supervisor) -> None:
    child = supervisor.start("gsos", SLEEP, on_death="record")
    os.kill(child.pid, signal.SIGSTOP)
    supervisor.run_until(lambda: bool(supervisor.deaths), 30, "the record")
    os.kill(child.pid, signal.SIGKILL)
    supervisor.run_until(lambda: not child.alive, 10, "its end")
    assert [death.role for death in supervisor.deaths] == ["gsos"]
    assert "stopped" in supervisor.deaths[0].how


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_death_nobody_has_noticed_explains_the_error_that_follows(number: signal.Signals) -> None:
    with pytest.raises(NetworkError) as caught, Supervisor(time.monotonic()) as supervisor:  # noqa: PT012
        child = supervisor.start("vswitchd", SLEEP, name="ovs-vswitchd")
        os.kill(child.pid, number)
        raise WorkloadError("ovs-vsctl timed out")
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"ovs-vswitchd (pid {child.pid}) ")
    assert ("killed by SIGKILL" in first) == (number == signal.SIGKILL)
    assert second == "also: ovs-vsctl timed out"


def test_an_error_while_all_live_is_left_as_it_is() -> None:
    with pytest.raises(WorkloadError, match="^no reason$"), Supervisor(time.monotonic()) as supervisor:
        supervisor.start("rank", SLEEP)
        raise WorkloadError("no reason")


def test_a_descriptor_is_watched_until_it_is_not(supervisor: Supervisor) -> None:
    reader, writer = os.pipe()
    heard: list[bytes] = []
    supervisor.watch_fd(reader, lambda: heard.append(os.read(reader, 10)))
    os.write(writer, b"one")
    supervisor.run_until(lambda: bool(heard), 10, "something to read")
    supervisor.unwatch_fd(reader)
    os.write(writer, b"two")
    run_for(supervisor, 0.1)
    assert heard == [b"one"]
    os.close(reader)
    os.close(writer)
