"""The ``mininet>`` prompt, by a script through a pipe and by keys at a terminal."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from gse_runs import ENV, PROJECT, gse_argv, interfaces, words
from terminal import PROMPT, Terminal

pytestmark = pytest.mark.root

FABRIC = words({"fabric.leaves": 2, "fabric.spines": 4, "fabric.hosts_per_leaf": 4})
LEAST = words({"fabric.leaves": 2, "fabric.spines": 1, "fabric.hosts_per_leaf": 1})
ECN = "h1 cat /proc/sys/net/ipv4/tcp_ecn"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = interfaces()
    yield
    assert interfaces() == before


def said(commands: Sequence[str], *options: str, fabric: Sequence[str] = FABRIC) -> dict[str, str]:
    """Give commands through a pipe and return what each printed; a command twice is numbered ``COMMAND #2``."""
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(
        gse_argv("cli", *options, *fabric),
        input=text,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    answers: dict[str, str] = {}
    for part in ("\n" + done.stdout).split(f"\n{PROMPT}")[1:]:
        command, _, answer = part.partition("\n")
        number = sum(1 for known in answers if known.partition(" #")[0] == command) + 1
        answers[command if number == 1 else f"{command} #{number}"] = answer
    return answers


@pytest.mark.beside
def test_every_command_of_the_prompt_does_what_it_says() -> None:
    # Mininet's own
    commands = [
        "help",
        "nodes",
        "net",
        "dump",
        "links",
        "pingall",
        "iperf",
        "iperfudp 2M h1 h5",
        "py 6*7",
        "sh echo outside",
    ]
    commands += [
        "h1 ping -c 1 h5",
        "h1 echo inside",
        "dpctl dump-ports-desc",
        "dpctl dump-flows",
        "py net.hosts",
        "sh date",
        "link l1 s3 down",
        "link l1 s3 up",
        "link l1 s2 down",
        "h1 ping -c 20 -i 0.1 h5",  # the first may go before the switches have noticed
        "gsos status",
        "link l1 s2 up",
    ]
    # ours
    commands += ["gsos status", "gsos paths", "gsos placement", "util", "queues", "path h1 h5", "path h1 h2"]
    commands += ["allreduce 256K", "gsos status", "fail l1 s3", "gsos paths", "gsos status", "path h1 h5", "heal l1 s3"]
    commands += ["fail s4", "gsos paths", "heal s4", "gsos counters", "gsos events", "exit", "sh echo never"]
    answers = said(commands, "--scheme", "gse1")
    assert list(answers)[-1] == "exit"
    assert all(
        name in answers["help"].split() for name in ("gsos", "util", "queues", "path", "allreduce", "fail", "heal")
    )
    assert answers["nodes"].split()[3:] == ["c0", *(f"h{i}" for i in range(1, 9)), "l1", "l2", "s1", "s2", "s3", "s4"]
    assert "h5 h5-eth0:l2-eth1" in answers["net"] and "l1-eth5:s1-eth1" in answers["net"]
    assert "h1: h1-eth0:10.0.1.1" in answers["dump"]
    assert answers["links"].count("(OK OK)") == 8 + 2 * 4
    assert "0% dropped (56/56 received)" in answers["pingall"]
    assert 1 < number(r"h1 > h8: ([\d.]+) Mbit/s received", answers["iperf"]) <= 10
    assert 1 < number(r"h1 > h5: ([\d.]+) Mbit/s received", answers["iperfudp 2M h1 h5"]) <= 2.1
    assert (answers["py 6*7"], answers["sh echo outside"], answers["h1 echo inside"]) == ("42", "outside", "inside")
    assert "1 received" in answers["h1 ping -c 1 h5"]
    assert answers["dpctl dump-ports-desc"].count("*** ") == 6 and "(l1-eth1)" in answers["dpctl dump-ports-desc"]
    assert answers["dpctl dump-flows"].count("*** ") == 6 and "priority=200" in answers["dpctl dump-flows"]
    assert answers["py net.hosts"].count("<") == 8
    assert re.search(r"\d\d:\d\d:\d\d", answers["sh date"])
    assert answers["link l1 s3 down"] == answers["link l1 s3 up"] == ""
    assert number(r"(\d+) received", answers["h1 ping -c 20 -i 0.1 h5"]) >= 15  # with a link less
    assert re.search(r"^failed +l1-s2$", answers["gsos status"], re.MULTILINE)

    assert "scheme     gse1, seed 1" in answers["gsos status"]
    assert "6 of 6 connected, ready" in answers["gsos status"]  # a second after the last change
    for later in ("#2", "#3", "#4"):  # right after a change rules may still be under way
        assert "6 of 6 connected" in answers[f"gsos status {later}"]
    assert re.findall(r"l\d-l\d.*", answers["gsos paths"])[0].split()[0] == "l1-l2"
    assert "10.0.1.1" in answers["gsos placement"]  # iperf's flow was seen and placed
    assert len(re.findall(r"^[ls]\d-eth\d>[ls]\d-eth\d +[\d.]+ .* +\d+%$", answers["util"], re.MULTILINE)) == 2 * 2 * 4
    assert answers["queues"].startswith("interface")
    assert re.search(
        r"^h1 > h5 tcp \d+ > 9000: path s[1-4]\n.* l1-eth\d\n.* s\d-eth2\n.* l2-eth1$", answers["path h1 h5"]
    )
    assert "stays on its leaf" in answers["path h1 h2"]
    allreduce = answers["allreduce 256K"]
    assert "all-reduce of 256 KiB over 8 ranks" in allreduce and ", 0 wrong elements" in allreduce
    assert "8 uplinks carry one flow each" in allreduce
    assert 20 < number(r"([\d.]+)% of the limit", allreduce) < 110

    assert re.match(r"l1-s3 down in [\d.]+ ms\nGSOS noticed after [\d.]+ ms", answers["fail l1 s3"])
    assert paths(answers["gsos paths #2"]).isdisjoint({"s3"})
    assert re.search(r"^failed +l1-s3$", answers["gsos status #4"], re.MULTILINE)
    assert re.search(r": path s[124]$", answers["path h1 h5 #2"], re.MULTILINE)
    assert "GSOS noticed" in answers["heal l1 s3"]
    assert "s4 down" in answers["fail s4"] and "s4" not in paths(answers["gsos paths #3"])
    assert "s4 up" in answers["heal s4"] and "GSOS noticed" in answers["heal s4"]
    assert answers["gsos counters"].count("%") >= 2 * 2 * 4
    assert re.search(r"^ +[\d.]+ s ago  link.* l1-s3: ", answers["gsos events"], re.MULTILINE)


SPRAYED = (
    r"^h1 > h5 tcp \d+ > 9000: path s[1-4], this frame: the next may take another\n"
    r".* l1-eth\d\n.* s\d-eth2\n.* l2-eth1$"
)


def test_links_that_lose_silently_or_are_slow_and_what_the_agents_say_of_it() -> None:
    rate = "sh tc qdisc show dev l1-eth7"  # l1's uplink to s3
    commands = ["gsp", rate, "pingall", "allreduce 256K", "gsp", "gsp l1", "gsp l9"]
    commands += ["silence l1 s2", "sh sleep 1", "gsp", "gsos paths", "allreduce 64K", "heal l1 s2"]
    commands += ["slow l1 s3", rate, "heal l1 s3", rate, "sh sleep 1.5", "gsp", ECN, "path h1 h5", "path h1 h2"]
    answers = said(commands, "--scheme", "gse2-n2n")
    before, after, silent, healed = (rows(answers[name]) for name in ("gsp", "gsp #2", "gsp #3", "gsp #4"))
    assert list(before) == list(after) == list(silent) == list(healed) == ["l1", "l2"]
    for leaf in ("l1", "l2"):
        assert int(after[leaf][3]) > int(before[leaf][3])  # grants
        sent = [float(size.rstrip("M")) for size in after[leaf][9:13]]
        assert min(sent) > 0.8 * max(sent) > 0  # over four paths
        assert "dead:" not in before[leaf] + after[leaf] + healed[leaf]
    assert "0% dropped" in answers["pingall"]
    for name in ("host_in_frames", "data_out", "delivered_in_order", "bytes by path s4"):
        assert number(rf"(?m)^{name} +(\d+)$", answers["gsp l1"]) > 0
    assert re.search(r"^wait in source queues +p50 [\d.]+ ms  p99 [\d.]+ ms$", answers["gsp l1"], re.MULTILINE)
    assert answers["gsp l9"] == "*** gsp l9: expected one of l1, l2"

    assert re.fullmatch(r"l1-s2 silent in [\d.]+ ms", answers["silence l1 s2"])
    assert silent["l1"][-2:] == ["dead:", "s2"]
    assert "dead:" not in silent["l2"]  # l2's own link to s2 works
    assert "s2" in paths(answers["gsos paths"])  # the carrier is up: GSOS does not notice
    assert ", 0 wrong elements" in answers["allreduce 64K"]
    assert re.match(r"l1-s2 up in [\d.]+ ms", answers["heal l1 s2"])

    assert re.fullmatch(r"l1-s3 slowed to a tenth in [\d.]+ ms", answers["slow l1 s3"])
    mbps = [number(r"rate (\d+)Kbit", kbit_of(answers[name])) / 1000 for name in (rate, f"{rate} #2", f"{rate} #3")]
    assert mbps[1] == pytest.approx(mbps[0] / 10, rel=0.01)
    assert mbps[2] == mbps[0]
    assert answers[ECN].strip() == "1"  # source queues mark
    assert re.search(SPRAYED, answers["path h1 h5"])
    assert "stays on its leaf" in answers["path h1 h2"]


@pytest.mark.beside
def test_path_of_a_frame_that_its_host_sprays() -> None:
    assert re.search(SPRAYED, said(["path h1 h5"], "--scheme", "gse2-e2e")["path h1 h5"])


@pytest.mark.beside
def test_gsp_under_a_scheme_without_agents_and_silence_there() -> None:
    way, spines = "path h1 h5 tcp 40000 9000", (1, 2, 3, 4)
    commands = ["gsp", way]
    commands += [command for spine in spines for command in (f"silence s{spine}", way, f"heal s{spine}")]
    answers = said([*commands, way, ECN], "--scheme", "ecmp")
    assert answers["gsp"] == "*** gsp: scheme ecmp has no agents; start with --scheme gse2-n2n, for one"
    taken = number(r": path s(\d)", answers[way])
    for spine in spines:
        answer = answers[f"{way} #{spine + 1}"]
        if spine == taken:
            assert "lost" in answer  # nobody notices: the carrier is up
        else:
            assert f": path s{taken:.0f}" in answer
    assert f": path s{taken:.0f}" in answers[f"{way} #{len(spines) + 2}"]
    assert answers[ECN].strip() == "0"  # nothing marks


def rows(answer: str) -> dict[str, list[str]]:
    """Return the words of each line of ``gsp`` below its heading, by the agent's name."""
    return {line.split()[0]: line.split()[1:] for line in answer.splitlines()[1:]}


def kbit_of(answer: str) -> str:
    """Return what ``tc`` shows with its rates in Kbit."""
    return re.sub(r"rate (\d+)Mbit", lambda found: f"rate {int(found[1]) * 1000}Kbit", answer)


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def paths(answer: str) -> set[str]:
    """Return every path that ``gsos paths`` lists for l1-l2."""
    line = next(line for line in answer.splitlines() if line.startswith("l1-l2"))
    return set(line.split()[1:])


MISTAKES = {
    "nosuch": "*** Unknown command: nosuch",
    "h99 ls": "*** Unknown command: h99 ls",
    "h1 nosuchprogram": "nosuchprogram: command not found",
    "py 1/0": "division by zero",
    "source /nosuch/file": "No such file or directory",
    "link l1 s9 down": "not in network",
    "gsos bogus": "expected one of status, paths, placement",
    "util soon": "expected a number of seconds",
    "path h1 h1": "*** path: expected two",
    "path h1 h99": "*** path: no host h99; expected two of h1..h",
    "path h1 h5 sctp": "*** path: expected two",
    "path h1 h5 tcp 0 1": "*** path: expected two",
    "iperf h1": "*** iperf: expected two different hosts",
    "iperfudp fast": "*** iperfudp: expected a rate in bit/s",
    "allreduce soon": "*** allreduce: 'soon' is not a size",
    "allreduce 66": "size_bytes=66, expected a multiple of 4",
    "allreduce 4G": "less than or equal to 1073741824",
    "fail l1": "*** fail: expected a link like 'l1 s2'",
    "fail l9 s1": "*** fail: expected a link like 'l1 s2'",
    "heal": "*** heal: expected a link like 'l1 s2'",
    "silence l1": "*** silence: expected a link like 'l1 s2'",
    "slow l1 h1": "*** slow: expected a link like 'l1 s2'",
    "switch s1 sideways": "invalid command",
    "xterm h1": "Cannot connect to display",
}


@pytest.mark.beside
def test_a_mistake_at_the_prompt_is_said_help_explains_and_the_prompt_goes_on() -> None:
    ours = ["gsos", "gsp", "util", "queues", "path", "allreduce", "iperf", "iperfudp", "source"]
    ours += ["fail", "silence", "slow", "heal"]
    answers = said([*MISTAKES, *(f"help {name}" for name in ours), "pingall"], "--scheme", "ecmp", "--seed", "3")
    for command, expected in MISTAKES.items():
        assert expected in answers[command], (command, answers[command])
    for name in ours:  # our commands are explained by help
        assert answers[f"help {name}"].startswith(name), answers
    assert "0% dropped" in answers["pingall"]  # and nothing has broken; the end of the script is an exit


@pytest.mark.beside
def test_files_are_where_the_user_is_and_nothing_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "commands").write_text("sh pwd\nallreduce 64K\n")
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ENV, "TMPDIR", str(tmp_path / "tmp"))
    answers = said(["source commands"])
    assert answers["sh pwd"] == str(tmp_path)
    assert ", 0 wrong elements" in answers["allreduce 64K"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["commands", "tmp"]


@pytest.mark.beside
def test_who_dies_while_the_prompt_waits_has_a_successor_or_is_not_needed() -> None:
    """Brackets: the shell that searches is not to find itself."""
    commands = ["sh pkill -9 -f 'agent.[g]sp .*gsp-l1.json'", "sh sleep 0.2", "h1 ping -c 10 -i 0.1 h5", "gsp"]
    commands += ["sh pkill -9 -f '[a]pps gsos'", "sh sleep 0.2", "gsos status", "gsp l9", "h1 ping -c 1 h5"]
    answers = said(commands, "--scheme", "gse2-n2n")
    assert number(r"(\d+) received", answers["h1 ping -c 10 -i 0.1 h5"]) >= 5  # the first may meet what it forgot
    assert list(rows(answers["gsp"])) == ["l1", "l2"]
    assert answers["gsos status"].startswith("*** GSOS ")
    assert answers["gsp l9"] == "*** gsp l9: expected one of l1, l2"  # asked, and answered
    assert "1 received" in answers["h1 ping -c 1 h5"]


@pytest.mark.beside
def test_a_scenario_may_be_larger_than_an_argument(tmp_path: Path) -> None:
    """As one with a trace, or with a table of sizes; the kernel takes 128 KiB."""
    table = tmp_path / "sizes.txt"
    table.write_text("".join(f"{size + 1} {size / 9999!r}\n" for size in range(10_000)))
    sizes = f"cross_traffic.poisson={{load: 0.01, sizes_file: {table}}}"
    assert said(["py 6*7"], "--set", sizes)["py 6*7"].strip() == "42"


@pytest.mark.beside
def test_a_script_in_another_encoding_and_an_empty_one_are_no_mistakes() -> None:
    for text in (b"", b"\n\nsh echo \xe9\n"):
        done = subprocess.run(
            gse_argv("cli", *LEAST), input=text, env=ENV, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def walkthrough() -> tuple[list[str], list[tuple[str, list[str]]], list[str]]:
    """Return options, commands with what they show, and commands only named at the end, of docs/walkthrough.md."""
    *blocks, end = (PROJECT / "docs" / "walkthrough.md").read_text().split("```\n")
    shown = "\n".join(blocks[1::2])
    (options,) = re.findall(r"^\$ sudo ./gse cli (.*)$", shown, re.MULTILINE)
    dialogue = []
    for part in f"\n{shown}".split(f"\n{PROMPT}")[1:]:
        command, *answer = part.strip().splitlines()
        dialogue.append((command, answer))
    return options.split(), dialogue, re.findall(r"`([^`]+)`", end)


def but_for_numbers(line: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "N", " ".join(line.split()))


@pytest.mark.beside
def test_the_walkthrough_goes_as_its_page_says() -> None:
    options, dialogue, named = walkthrough()
    assert len(dialogue) >= 6 and len(named) >= 12
    answers = said([*(command for command, _answer in dialogue), *named], *options, fabric=())
    for command, expected in dialogue:
        lines = [but_for_numbers(line) for line in expected if line != "..."]
        assert [but_for_numbers(line) for line in answers[command].splitlines()[: len(lines)]] == lines, command
    # what pingall and dpctl begin with; mistakes begin with stars, too
    usual = ("*** Ping: ", "*** l1 -")
    for command, answer in answers.items():
        assert answer.startswith(usual) or not answer.startswith("***"), (command, answer)


def ranks_below(pid: int) -> int:
    """Return how many ranks are among the descendants of a process: of its fabric, whatever else the machine runs."""
    parents, ranks = {}, []
    for one in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):  # it has ended meanwhile
            parents[one] = int(Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{one}/comm").read_bytes().startswith(b"rank "):
                ranks.append(one)

    def is_below(one: int) -> bool:
        parent = parents.get(one, 0)
        return parent == pid or (parent != 0 and is_below(parent))

    return sum(map(is_below, ranks))


def interrupt_at_the_prompt(terminal: Terminal) -> None:
    """Press Ctrl-C, again where nothing comes of it: Python misses one between showing a prompt and awaiting keys."""
    for _ in range(5):
        terminal.type("\x03")
        with suppress(AssertionError):
            terminal.read_until(r"Interrupt", within_s=5)
            return
    raise AssertionError("five times Ctrl-C at the prompt, and no answer")


@pytest.mark.beside
def test_ctrl_c_at_a_terminal_ends_the_command_and_not_the_fabric() -> None:
    with Terminal("--scheme", "gse1", *FABRIC) as terminal:
        terminal.read_until(re.escape(PROMPT))
        terminal.type("util\n")
        shown = terminal.read_until(r"of rate", times=2)
        assert "\x1b[17A" in shown  # the second screen is drawn over the first: 16 links and the heading
        terminal.type("\x03")
        terminal.read_until(r"Interrupt")
        terminal.read_until(re.escape(PROMPT))
        assert "6 of 6 connected, ready" in terminal.run("gsos status")
        assert "0% dropped" in terminal.run("pingall")

        terminal.type("allreduce 64M\n")
        terminal.read_until(r"all-reduce of 64 MiB .* \.\.\.")
        assert ranks_below(terminal.process.pid) == 8
        terminal.type("\x03")
        terminal.read_until(r"Interrupt")
        terminal.read_until(re.escape(PROMPT))
        assert ranks_below(terminal.process.pid) == 0
        assert ", 0 wrong elements" in terminal.run("allreduce 64K")

        terminal.type("h1 ping h5\n")
        terminal.read_until(r"icmp_seq=2")
        terminal.type("\x03")
        terminal.read_until(r"packets transmitted")
        terminal.read_until(re.escape(PROMPT))
        terminal.type("util\n")
        terminal.read_until(r"of rate")
        terminal.type("\n")
        terminal.read_until(re.escape(PROMPT))
        assert "l1-l2" in terminal.run("gsos pa\t")  # completed to: gsos paths
        assert "l1-s2 down" in terminal.run("fai\t l1 s2")
        interrupt_at_the_prompt(terminal)
        terminal.read_until(re.escape(PROMPT))
        terminal.type("exit\n")
        assert terminal.read_to_end() == 0


@pytest.mark.beside
def test_the_end_of_input_at_a_terminal_leaves_the_prompt() -> None:
    with Terminal(*LEAST) as terminal:
        terminal.read_until(re.escape(PROMPT))
        terminal.type("\x04")
        assert terminal.read_to_end() == 0
