from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from testbed.evaluation.records import ThreadRow, rows_from_columns
from testbed.evaluation.records import columns as columns_of
from testbed.measurement.threadtimes import Threads, role_of


def rows(threads: Threads, t_s: float = 1.0) -> list[ThreadRow]:
    import csv

    return rows_from_columns(ThreadRow, columns_of(ThreadRow), list(csv.reader(threads.lines(t_s))))


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["ovs-vswitchd", "unix:/run/db.sock", "--detach"], "vswitchd"),
        (["/usr/sbin/ovsdb-server", "conf.db"], "ovsdb"),
        (["/opt/venv/bin/python", "-m", "testbed.workload.endpoint"], "rank"),
        (["mnexec", "-a", "17", "/opt/venv/bin/python", "-m", "testbed.workload.endpoint"], "rank"),
        (["python3", "-m", "testbed.measurement.probes", "--config", "p.json"], "probes"),
        (["python3", "-m", "apps", "gsos", "--plan", "plan.json"], "gsos"),
        (["iperf3", "-c", "10.0.1.1"], "background"),
        (["python3", "-m", "http.server"], "other"),
        (["bash", "--norc"], "other"),
        (["grep", "-m"], "other"),
        ([""], "other"),
        ([], "other"),
    ],
)
def test_role_follows_from_the_command_line(argv: list[str], role: str) -> None:
    assert role_of(argv) == role


def test_running_thread_gains_run_time_and_a_sleeping_one_does_not() -> None:
    ready, leave = threading.Event(), threading.Event()
    identity: list[int] = []

    def sleep() -> None:
        identity.append(threading.get_native_id())
        ready.set()
        leave.wait()

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    try:
        assert ready.wait(10)
        with Threads({os.getpid(): "runner"}) as threads:
            threads.find()
            before = {row.tid: row for row in rows(threads)}
            until_s = time.process_time() + 0.1
            while time.process_time() < until_s:
                pass
            after = {row.tid: row for row in rows(threads)}
    finally:
        leave.set()
        sleeper.join()
    main, asleep = threading.get_native_id(), identity[0]
    assert before[main].role == before[asleep].role == "runner"
    assert after[main].run_s - before[main].run_s > 0.09
    assert after[asleep].run_s - before[asleep].run_s < 0.01


def test_thread_that_ended_is_forgotten_and_a_new_one_found() -> None:
    with Threads({}) as threads, subprocess.Popen(["sleep", "60"]) as child:
        threads.find()
        assert child.pid in {row.pid for row in rows(threads)}
        child.kill()
        child.wait()
        assert child.pid not in {row.pid for row in rows(threads)}
        with subprocess.Popen(["sleep", "60"]) as second:
            threads.find()
            assert second.pid in {row.pid for row in rows(threads)}
            second.kill()


def test_name_with_a_comma_and_role_after_exec_are_read_anew() -> None:
    code = "import sys; sys.stdin.read(1); open('/proc/self/comm','w').write('a,\"b'); print('ok', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin and child.stdout
        with Threads({}) as threads:
            threads.find()
            child.stdin.write(b"x")
            child.stdin.flush()
            assert child.stdout.readline() == b"ok\n"
            threads.find()
            names = [row.name for row in rows(threads) if row.pid == child.pid]
        child.kill()
    assert names == ['a,"b']
