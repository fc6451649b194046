"""What a user's program is told, and how what its ranks print and how they end is heard; no network."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import scenario_of

import testbed.programs.streams as streams
from testbed.errors import ParseError
from testbed.measurement.tcpstat import parse_counters, pick
from testbed.model.ranks import place_ranks
from testbed.programs.environment import (
    Files,
    environment,
    hostfile_text,
    hosts_text,
    mpirun_argv,
    placeholder_values,
    places,
)
from testbed.programs.placeholders import NAMES, filled, placeholder_problems
from testbed.programs.request import Request
from testbed.programs.streams import Shown, Stream
from testbed.runs.plan import Plan

FILES = Files(hostfile="/run/hosts", launcher="/run/enter", scratch="/run/scratch")
PROJECT = Path(__file__).resolve().parents[2]
VALUES = {name: f"<{name}>" for name in NAMES}


def plan_of(scheme: str = "ecmp", **workload: Any) -> Plan:
    scenario = scenario_of(workload=workload, schemes=[scheme], seeds=[7])
    return Plan(scenario=scenario, scheme=scheme, seed=7, run_dir=Path("/nowhere"), datapath="userspace")


def places_of(plan: Plan) -> Any:
    return places(plan.rank_hosts, plan.settings.attachment)


# --- placeholders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--node-rank={rank}", "--node-rank=<rank>"),
        ("{host}:{master_port}", "<host>:<master_port>"),
        ("{{rank}}", "{rank}"),
        ("{{anything}}", "{anything}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ("{}{0}{Rank}{rank", "{}{0}{Rank}{rank"),
        ("${HOME}", "${HOME}"),
    ],
)
def test_words_in_braces_are_replaced_and_other_braces_left_alone(word: str, expected: str) -> None:
    assert filled([word], VALUES) == [expected]
    assert list(placeholder_problems([word])) == []


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="{}"))))
def test_a_command_without_braces_is_executed_as_it_stands(argv: list[str]) -> None:
    assert filled(argv, VALUES) == argv


@given(st.lists(st.sampled_from(NAMES)))
def test_every_placeholder_has_a_value_for_every_rank(names: list[str]) -> None:
    everyone = places_of(plan_of())
    for place in everyone:
        values = placeholder_values(place, everyone, FILES)
        assert filled([f"{{{name}}}" for name in names], values) == [values[name] for name in names]


def test_every_unknown_placeholder_is_a_problem_of_its_own() -> None:
    problems = list(placeholder_problems(["{rnak}", "x={rank}", "{node}{hosts}"]))
    assert [problem.got for problem in problems] == [
        "{rnak} in '{rnak}'",
        "{node} in '{node}{hosts}'",
        "{hosts} in '{node}{hosts}'",
    ]
    assert "rank, world_size" in problems[0].expected
    assert "{{rnak}} for the word itself" in problems[0].expected


# --- which rank is where, and what it is told ---------------------------------------------------------


@pytest.mark.parametrize("placement", ["cross_leaf", "leaf_local", "random"])
def test_ranks_are_where_the_scenario_places_them(placement: str) -> None:
    plan = plan_of(placement=placement)
    assert [place.host for place in places_of(plan)] == list(plan.rank_hosts)
    assert [place.rank for place in places_of(plan)] == [0, 1, 2, 3]
    if placement != "random":
        expected = {"cross_leaf": ["h1", "h3", "h2", "h4"], "leaf_local": ["h1", "h2", "h3", "h4"]}[placement]
        assert [place.host.name for place in places_of(plan)] == expected


@pytest.mark.parametrize(
    ("scheme", "interface"), [("ecmp", "h3-eth0"), ("gse2-n2n", "h3-eth0"), ("gse2-e2e", "h3-gse")]
)
def test_a_rank_is_told_who_it_is_and_which_interface_has_its_address(scheme: str, interface: str) -> None:
    everyone = places_of(plan_of(scheme))
    users = {"PATH": "/bin", "RANK": "99", "OMP_NUM_THREADS": "4", "OMPI_MCA_coll": "tuned"}
    told = environment(users, everyone[1], everyone, FILES)
    expected = {
        "RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "10.0.1.1",
        "MASTER_PORT": "29500",
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
        "TP_SOCKET_IFNAME": interface,
        "GSE_HOST": "h3",
        "GSE_HOSTFILE": "/run/hosts",
        "HOSTNAME": "h3",
        "PATH": "/bin",
        "OMP_NUM_THREADS": "4",
        "PYTHONUNBUFFERED": "1",
        "OMPI_MCA_coll": "tuned",
        "OMPI_MCA_btl": "tcp,self",
        "OMPI_MCA_btl_tcp_if_include": "10.0.0.0/8",
        "OMPI_MCA_oob_tcp_if_include": "10.0.0.0/8",
        "OMPI_MCA_plm_rsh_agent": "/run/enter",
        "OMPI_MCA_orte_tmpdir_base": "/run/scratch",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    assert {name: told.get(name) for name in expected} == expected


def test_the_first_rank_is_the_master_wherever_it_is() -> None:
    everyone = places_of(plan_of(placement="random"))
    addresses = {environment({}, place, everyone, FILES)["MASTER_ADDR"] for place in everyone}
    assert addresses == {everyone[0].host.ip}


def test_hosts_are_listed_rank_by_rank() -> None:
    plan = plan_of()
    assert hostfile_text(places_of(plan)) == "h1 slots=1\nh3 slots=1\nh2 slots=1\nh4 slots=1\n"
    assert hosts_text(plan.topology).splitlines() == [
        "127.0.0.1\tlocalhost",
        "10.0.1.1\th1",
        "10.0.1.2\th2",
        "10.0.2.1\th3",
        "10.0.2.2\th4",
    ]


def test_mpirun_starts_one_process_per_line_of_the_hostfile() -> None:
    argv = mpirun_argv(places_of(plan_of()), FILES, ["python3", "job.py"])
    assert argv[0] == "mpirun"
    assert argv[argv.index("-np") + 1] == "4"
    assert argv[argv.index("--hostfile") + 1] == "/run/hosts"
    assert argv[-2:] == ["python3", "job.py"]


@given(
    st.lists(st.text(), min_size=1),
    st.floats(min_value=0.001, max_value=1e6, allow_nan=False),
    st.booleans(),
)
def test_a_request_survives_the_plan(argv: list[str], timeout_s: float, mpi: bool) -> None:
    request = Request(argv=tuple(argv), cwd="/home", timeout_s=timeout_s, mpi=mpi)
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request


# --- what ranks print ---------------------------------------------------------------------------------


class Heard:
    """A stream and the lines it told of."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.stream = Stream(folder / "rank-0.stdout", self.lines.append)

    def write(self, data: bytes) -> None:
        os.write(self.stream.write_fd, data)
        self.stream.read()


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path)


def test_lines_are_told_when_they_are_whole_and_the_last_one_at_the_end(heard: Heard) -> None:
    heard.write(b"one\ntw")
    assert heard.lines == ["one"]
    heard.write(b"o\r\n\xff\nunfinished")
    assert heard.lines == ["one", "two", "\ufffd"]
    heard.stream.close()
    assert heard.lines[-1] == "unfinished"
    assert heard.stream.path.read_bytes() == b"one\ntwo\r\n\xff\nunfinished"
    assert heard.stream.last_line == "unfinished"


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=20))
def test_a_file_has_every_byte_however_it_came(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    heard = Heard(tmp_path_factory.mktemp("stream"))
    for chunk in chunks:
        heard.write(chunk)
    heard.stream.close()
    everything = b"".join(chunks)
    assert heard.stream.path.read_bytes() == everything
    assert len(heard.lines) == len(everything.split(b"\n")) - everything.endswith(b"\n") - (not everything)


def test_a_line_without_end_is_told_in_pieces(heard: Heard) -> None:
    heard.write(b"x" * (streams.MOST_SHOWN_BYTES + 1))
    assert len(heard.lines) == 1
    assert heard.lines[0].endswith("x [...]")
    heard.stream.close()


def test_a_line_too_long_to_be_a_report_is_cut_and_the_documents_say_how_long(heard: Heard) -> None:
    report = json.dumps({"x": "y" * streams.MOST_SHOWN_BYTES})
    heard.write(report.encode() + b"\n")
    heard.stream.close()
    with pytest.raises(ValueError):
        json.loads(heard.lines[0])
    for page in ("exec.md", "results-format.md"):
        said = (PROJECT / "docs" / page).read_text()
        assert f"a JSON object of at most {streams.MOST_SHOWN_BYTES} bytes" in said, page


def test_of_a_stream_that_prints_without_end_some_lines_are_shown_and_how_many_are_not() -> None:
    shown = Shown(100.0)
    assert sum(shown.may_be(100.0) for _ in range(5000)) == streams.SHOWN_AT_ONCE
    assert shown.gap("rank-0.stdout") == "[3000 lines not shown: they came too fast; rank-0.stdout has them]"
    assert shown.gap("rank-0.stdout") is None
    assert sum(shown.may_be(101.0) for _ in range(5000)) == streams.SHOWN_PER_S
    assert shown.left_out == 5000 - streams.SHOWN_PER_S
    assert not any(shown.may_be(101.001 * number / 1000) for number in range(1000, 1004))  # not one line at a time
    assert shown.may_be(200.0)


def test_every_line_is_heard_however_many_come_at_once(heard: Heard) -> None:
    """Results are among them: a program may print them after a million lines of a log."""
    for _ in range(20):
        heard.write(b"x\n" * 2000)
    heard.stream.close()
    assert len(heard.lines) == 40_000


def test_a_stream_that_never_ends_does_not_fill_the_disk(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_KEPT_BYTES", 10)
    heard.write(b"12345678\n")
    heard.write(b"abcdef\n")
    heard.write(b"more\n")
    heard.stream.close()
    assert heard.stream.path.read_bytes() == b"12345678\na"
    assert heard.lines == [
        "12345678",
        "[no more is kept of this stream: 10 bytes are in rank-0.stdout]",
        "abcdef",
        "more",
    ]


# --- a rank under MPI ---------------------------------------------------------------------------------


def mpi_rank(folder: Path, argv: list[str], **environment: str) -> tuple[int, list[dict[str, Any]], dict[str, str]]:
    """Start a rank as Open MPI's daemon does; return its status, what it told, and what the command printed."""
    streams_ = {name: str(folder / name) for name in ("stdout", "stderr")}
    control = folder / "control"
    for path in (control, *map(Path, streams_.values())):
        path.touch()
    other = {"argv": ["false"], "environment": {}, "host": "h1", **streams_}
    mine = {"argv": argv, "environment": {"PATH": os.environ["PATH"], "OMPI_MCA_btl": "tcp"}, "host": "h2", **streams_}
    config = folder / "mpi.json"
    config.write_text(json.dumps({"control": str(control), "cwd": str(folder), "ranks": [other, mine]}))
    program = PROJECT / "testbed" / "programs" / "mpirank.py"
    done = subprocess.run(
        [sys.executable, "-I", str(program), str(config)],
        env={"OMPI_COMM_WORLD_RANK": "1", **environment},
        timeout=60,
        check=False,
    )
    told = [json.loads(line) for line in control.read_text().splitlines()]
    return done.returncode, told, {name: Path(path).read_text() for name, path in streams_.items()}


def test_a_rank_under_mpi_has_the_environment_of_both(tmp_path: Path) -> None:
    script = (
        "import json, os\n"
        "import pathlib, time\n"
        "time.sleep(0.3)\n"  # who started it sets its session's priority when it has begun
        "group = pathlib.Path('/proc/self/autogroup')\n"
        "idle = os.sched_getscheduler(0) == os.SCHED_IDLE\n"
        "found = {'CWD': os.getcwd(), 'IDLE': str(idle), 'GROUP': group.read_text() if group.exists() else ''}\n"
        "print(json.dumps({**os.environ, **found}))\n"
    )
    status, _told, printed = mpi_rank(tmp_path, [sys.executable, "-c", script], PMIX_RANK="1", PYTHONPATH="/bad")
    assert status == 0
    seen = json.loads(printed["stdout"])
    assert seen["OMPI_COMM_WORLD_RANK"] == "1"
    assert seen["PMIX_RANK"] == "1"
    assert seen["OMPI_MCA_btl"] == "tcp"
    assert seen["CWD"] == str(tmp_path)
    assert seen["IDLE"] == "True"
    assert seen["GROUP"] == "" or seen["GROUP"].endswith(" nice 19\n")
    own = Path("/proc/self/autogroup")
    assert not own.exists() or not own.read_text().endswith(" nice 19\n"), "whoever started it keeps its own"
    assert "PYTHONPATH" not in seen


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [
        ("raise SystemExit(3)", 3, 3),
        ("import os; os.kill(os.getpid(), 9)", 128 + signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_rank_under_mpi_tells_how_its_command_ended(tmp_path: Path, script: str, status: int, told: int) -> None:
    returned, (started, running, ended), _printed = mpi_rank(tmp_path, [sys.executable, "-c", script])
    assert returned == status
    assert (started["event"], started["rank"], started["host"]) == ("started", 1, socket.gethostname())
    assert (running["event"], running["rank"]) == ("running", 1)
    assert running["pid"] not in (started["pid"], os.getpid())
    assert ended == {"event": "ended", "rank": 1, "status": told}


def test_a_command_that_cannot_be_started_under_mpi_is_told(tmp_path: Path) -> None:
    returned, (_started, _running, ended), printed = mpi_rank(tmp_path, ["./not-there"])
    assert returned == 127
    assert ended["status"] in (126, 127)  # what runs it at the lowest priority says so
    assert "not-there" in printed["stderr"]


# --- what a host's TCP counts -------------------------------------------------------------------------

SNMP = "Ip: Forwarding\nIp: 2\nTcp: RtoMin OutSegs RetransSegs\nTcp: 200 1000 7\n"
NETSTAT = "TcpExt: SyncookiesSent TCPOFOQueue\nTcpExt: 0 12\nIpExt: InOctets\nIpExt: 5\n"


def test_tcp_counters_are_found_by_name() -> None:
    assert pick({"snmp": SNMP, "netstat": NETSTAT}) == {
        "sent_segments": 1000,
        "retransmitted_segments": 7,
        "out_of_order_packets": 12,
    }


@pytest.mark.parametrize("text", ["", "Tcp: OutSegs\n", "Tcp: OutSegs\nTcp: many\n", "Tcp: A B\nTcp: 1\n"])
def test_counters_that_cannot_be_read_are_no_zeros(text: str) -> None:
    with pytest.raises(ParseError, match="begin with Tcp"):
        parse_counters(text, "Tcp")


def test_a_counter_this_kernel_does_not_have_is_said() -> None:
    with pytest.raises(ParseError, match="a counter TCPOFOQueue"):
        pick({"snmp": SNMP, "netstat": NETSTAT.replace("TCPOFOQueue", "Other")})


def test_placement_does_not_depend_on_the_scheme() -> None:
    one, other = plan_of("ecmp", placement="random"), plan_of("gse2-e2e", placement="random")
    assert one.rank_hosts == other.rank_hosts
    assert set(one.rank_hosts) == set(place_ranks(one.topology, 4, "leaf_local", None))  # type: ignore[arg-type]
