"""What this machine can emulate, and what to do about what is missing.

Everything is found out by trying, in throw-away namespaces, up to a second of frames through real switches.
With --calibrate by runs: the highest rate at which a ring all-reduce is VALID, on two fabrics, with two MTUs, without
agents and with agents in leaves and in hosts. That takes some twenty minutes on a machine with nothing else to do, and
is kept for 'gse run', 'sweep', 'bench' and 'exec', which say when more is asked for, and for their --auto-rate. It is
kept as it is found: after an interruption the same command goes on, and makes those kinds of run again that others
disturbed. Once all are known it begins anew.
Exit status 0: runs are possible here; 2: not.

examples:
  sudo ./gse doctor               the table
  sudo ./gse doctor --json        the same as one JSON document
  sudo ./gse doctor --calibrate   what rates it carries, by runs; kept
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from testbed.cli.console import Console
from testbed.cli.options import add_results
from testbed.cli.preparing import prepare_fabric
from testbed.cli.progress import duration_text
from testbed.cli.run import tell_of_others
from testbed.errors import MachineError, Problem, TestbedError, printable
from testbed.fabric.burst import measure_crossings_per_s
from testbed.model.attachment import Attachment
from testbed.model.calibrated import Carried
from testbed.model.capacity import expected_crossings_per_s, host_rate_limit_mbps
from testbed.results.calibration import (
    Calibration,
    check_place,
    load_calibration,
    store_found,
)
from testbed.runs.calibration import KINDS, NAME, Found, Kind, expected_s, find_out, kinds_left
from testbed.runs.campaign import Outcome
from testbed.system.capsule import require_root
from testbed.system.interrupts import interruptible
from testbed.system.machine import CONGESTION_CONTROL, Machine, check_machine, inspect_machine
from testbed.system.provenance import commit

HOSTS_SHOWN: Final = (4, 8, 16, 32, 64)
MTUS_SHOWN: Final = (1500, 9000)
VERSIONS_SHOWN: Final = ("ovs-vswitchd", "iperf3", "tc")
STYLES: Final = {"ok": "green", "limited": "yellow", "missing": "red", "unknown": "dim"}
SLOW_SHARE: Final = 0.7  # the burst varies by a tenth either way from one try to the next
State = Literal["ok", "limited", "missing", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``remedy`` is empty when nothing has to be done."""

    what: str
    state: State
    found: str
    meaning: str
    remedy: str = ""


@dataclass(frozen=True)
class Switching:
    """What came of sending a burst through switches: crossings per second, or why not; neither when not tried."""

    crossings_per_s: float | None = None
    error: str | None = None


UNTRIED: Final = Switching()
AGENTS_SHOWN: Final[dict[Attachment, str]] = {
    "none": "no agents\n(ecmp, gse1)",
    "leaf": "agents in leaves\n(gse2-n2n)",
    "host": "agents in hosts\n(gse2-e2e)",
}
NOT_CALIBRATED: Final = (
    "Not calibrated: sudo ./gse doctor --calibrate finds out by runs what rates this machine carries."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_results(parser)
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="find out by runs what rates are carried, and keep it: some twenty minutes; goes on after an interruption",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Look at the machine and report; return 0 when runs are possible, else 2."""
    machine = inspect_machine(args.results)
    problems = check_machine(machine)
    switching = try_switching(machine) if not problems else UNTRIED
    if switching.error is not None:
        problems.append(
            Problem("no frame gets through the switches", "burst", switching.error, "frames at the far end")
        )
    if args.calibrate:
        if problems:
            raise MachineError(problems)
        calibration: Calibration | None = calibrate(machine, args.results)
    else:
        calibration = load_calibration(machine.to_json())
    if args.json:
        print(json.dumps(report(machine, switching, problems, calibration), indent=2))
    else:
        _show(machine, switching, calibration)
        for problem in problems:
            print(f"gse: {problem}", file=sys.stderr)
        print("Runs are possible on this machine." if not problems else "No run is possible yet.")
    return 2 if problems else 0


def calibrate(machine: Machine, results_dir: Path) -> Calibration:
    """Find out by runs what the machine carries, tell each run on stderr, and keep what is found kind by kind.

    What an earlier call has not found, or only what others left, comes first; where nothing is left, all is found anew.
    Raises MachineError where nothing can be found, ResultsError where it cannot be kept.
    """
    require_root("doctor --calibrate")
    check_place()
    tell_of_others()
    prepare_fabric(sorted({kind.scheme for kind in KINDS}))
    code, calibration = commit(), load_calibration(machine.to_json()) or Calibration(_now_utc())
    possible = [kind for kind in KINDS if kind.rates_mbps(machine)]
    # a clock that was ahead, and was set: what is of the future would never be found again, or always
    now_utc = _now_utc()
    calibration = replace(calibration, begun_utc=min(calibration.begun_utc, now_utc))
    dated = [one for one in calibration.found if one.made_utc is not None and one.made_utc <= now_utc]
    left = kinds_left(dated, code, calibration.begun_utc, possible)
    if not left:
        calibration = replace(calibration, begun_utc=_now_utc())
        left = tuple(possible)
    known = f"; {len(possible) - len(left)} are known already" if len(left) < len(possible) else ""
    lasts = duration_text(expected_s(left, machine))
    _tell(f"{len(left)} kinds of run, some four rates each; about {lasts}, undisturbed{known}")
    open_kinds, kept = list(left), None
    try:
        with interruptible():
            # kinds that are not possible, too: it is told why
            kinds = [kind for kind in KINDS if kind in left or kind not in possible]
            for found in find_out(machine, results_dir, _tell_run, kinds, on_event=_tell_warning):
                _tell(_answer_words(found))
                if found.carried is not None:
                    one = replace(found.carried, made_utc=_now_utc(), commit=code)
                    kept, calibration = store_found(one, calibration, machine.to_json())
                    if not found.carried.disturbed:
                        open_kinds.remove(found.kind)
    finally:
        if kept is not None:
            _tell(f"kept in {kept}")
        if open_kinds:
            _tell(f"{len(open_kinds)} of {len(possible)} kinds are left; to go on: sudo ./gse doctor --calibrate")
    if not calibration.found:
        got, expected = "no answer for any kind of run", "a machine that is left alone, and runs that come to an end"
        raise MachineError(Problem("nothing could be found out", str(results_dir / NAME), got, expected))
    return calibration


def _tell(text: str) -> None:
    print(printable(f"gse: {text}"), file=sys.stderr, flush=True)


def _tell_run(kind: Kind, rate_mbps: float, outcome: Outcome) -> None:
    """Tell what came of a run on stderr."""
    why = "" if outcome.summary is None else ", ".join(outcome.summary["checks"])
    _tell(f"{kind}, {rate_mbps:g} Mbit/s: {outcome.verdict}" + (f" ({why})" if why else ""))
    if outcome.complaint is not None:
        print(f"gse: {outcome.complaint}", file=sys.stderr, flush=True)


def _tell_warning(event: dict[str, Any]) -> None:
    """Tell what keeps a run waiting: others may for minutes."""
    if event["event"] == "warning":
        _tell(str(event["message"]))


def _answer_words(found: Found) -> str:
    """Return in words what came of a kind of run."""
    doubt = "" if found.doubt is None else f" ({found.doubt})"
    if (one := found.carried) is None:
        return f"{found.kind}: not known{doubt}"
    if one.rate_mbps is None:
        return f"{found.kind}: nothing is carried, not even {one.beyond_mbps:g} Mbit/s; {NAME}/ has the runs{doubt}"
    beyond = "the highest that is tried here" if one.beyond_mbps is None else f"{one.beyond_mbps:g} not"
    return f"{found.kind}: {one.rate_mbps:g} Mbit/s carried, " + (f"perhaps more{doubt}" if one.disturbed else beyond)


def _now_utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def try_switching(machine: Machine) -> Switching:
    """Send frames through switches in a capsule, and see how many a second."""
    try:
        return Switching(measure_crossings_per_s(machine.datapath))
    except TestbedError as error:
        return Switching(error=str(error).strip().splitlines()[-1])


def report(
    machine: Machine, switching: Switching, problems: list[Problem], calibration: Calibration | None = None
) -> dict[str, Any]:
    """Return the JSON document of ``doctor --json``."""
    crossings = expected(machine, switching)
    return {
        "format_version": 1,
        "runs_possible": not problems,
        "problems": [asdict(problem) for problem in problems],
        "findings": [asdict(finding) for finding in findings(machine, switching)],
        "burst_crossings_per_s": switching.crossings_per_s,
        "expected_crossings_per_s": round(crossings),
        "host_rate_limit_mbps": [
            {"hosts": hosts, "mtu_bytes": mtu, "limit": round(host_rate_limit_mbps(crossings, hosts, mtu), 1)}
            for hosts in HOSTS_SHOWN
            for mtu in MTUS_SHOWN
        ],
        "calibration": None if calibration is None else calibration.to_json(),
        "machine": machine.to_json(),
    }


def expected(machine: Machine, switching: Switching) -> float:
    """Return the switch crossings per second to expect here: scaled by the burst where there was one."""
    if switching.crossings_per_s is None:
        return machine.ceiling_crossings_per_s
    return expected_crossings_per_s(machine.datapath, machine.cores, switching.crossings_per_s)


def findings(machine: Machine, switching: Switching) -> list[Finding]:
    """Return the report's lines. Pure: the same machine gives the same lines."""
    return [
        *_privilege(machine),
        *_size(machine),
        *_datapath(machine),
        *_switching(machine, switching),
        *_queues(machine),
        *_transport(machine),
        *_tools(machine),
    ]


def _privilege(machine: Machine) -> Iterable[Finding]:
    if machine.is_root:
        yield Finding("user", "ok", "root", "may make run capsules")
    else:
        why = "runs need network namespaces, Open vSwitch and tc"
        yield Finding("user", "missing", f"uid {machine.uid}", why, "use sudo: sudo ./gse doctor")
    if not machine.capsule_tried:
        yield Finding("run capsule", "unknown", "not tried without root", "each run lives in its own namespaces")
    elif machine.capsule_error is None:
        yield Finding("run capsule", "ok", "made one and left it", "nothing of a run stays behind")
    else:
        remedy = "use a VM, or a container with --privileged"
        yield Finding("run capsule", "missing", machine.capsule_error, "no run is possible", remedy)


def _size(machine: Machine) -> Iterable[Finding]:
    system = f"{machine.distribution}, kernel {machine.kernel}"
    yield Finding("system", "ok", system, f"Python {machine.python}, {machine.architecture}, {machine.cpu}")
    if machine.cores >= 2:
        yield Finding("cores", "ok", f"{machine.cores:g}", "one for the switches, the rest for hosts and controller")
    else:
        meaning = "switches and hosts share a core: expect SUSPECT runs"
        yield Finding("cores", "limited", f"{machine.cores:g}", meaning, "give it at least 2 cores")
    memory = machine.memory_available_bytes / 2**30
    yield Finding(
        "memory",
        "ok" if memory >= 2 else "limited",
        f"{memory:.1f} GiB available",
        "a run of 16 ranks and 8 MiB needs about 1.6 GB",
        "" if memory >= 2 else "smaller workload.size_bytes, fewer ranks, or more memory",
    )
    full = [problem for problem in check_machine(machine) if problem.what.startswith("disk")]
    yield Finding(
        "disk",
        "missing" if full else "ok",
        f"{machine.results_free_bytes / 2**30:.1f} GiB free for {machine.results_dir}",
        "a run keeps some MB of tables and raw output",
        full[0].expected + " free; --results DIR puts results elsewhere" if full else "",
    )


def _datapath(machine: Machine) -> Iterable[Finding]:
    if machine.datapath == "kernel":
        yield Finding("datapath", "ok", "kernel Open vSwitch", "frames are switched in the kernel")
        return
    yield Finding(
        "datapath",
        "limited",
        "userspace Open vSwitch (no openvswitch module)",
        "the same scenarios at lower rates; results are fractions of line rate",
        "for higher rates a kernel with the module, e.g. the VM: vagrant up",
    )
    if not machine.tun:
        remedy = "modprobe tun, or docker run --device /dev/net/tun"
        yield Finding("/dev/net/tun", "missing", "no access", "the userspace datapath needs tap devices", remedy)
    yield Finding(
        "packet buffers",
        "ok",
        f"default {_bytes(machine.rmem_default_bytes)}, max {_bytes(machine.rmem_max_bytes)}",
        "the switch's own sockets get 8 MB in each run; machine-wide settings stay as they are",
    )


def _switching(machine: Machine, switching: Switching) -> Iterable[Finding]:
    if switching.error is not None:
        remedy = "sudo ./gse doctor -v shows the commands; docs/install.md"
        yield Finding("switching", "missing", switching.error, "no run is possible", remedy)
    elif switching.crossings_per_s is None:
        yield Finding("switching", "unknown", "not tried", "how many frames a second the switches pass on")
    else:
        share = expected(machine, switching) / machine.ceiling_crossings_per_s
        found = f"{switching.crossings_per_s:,.0f} crossings/s in a burst"
        if share > SLOW_SHARE:
            yield Finding("switching", "ok", found, f"{share:.0%} of what the reference machine does")
        else:
            meaning = f"{share:.0%} of what the reference machine does: expect SUSPECT runs at usual rates"
            yield Finding(
                "switching", "limited", found, meaning, "lower fabric.link_rate_mbps; nothing else running meanwhile"
            )


QUEUE_MEANING: Final = {
    "tbf": ("link rates", "no link can be shaped"),
    "htb": ("rates of classes (not needed by built-in scenarios)", "not needed by built-in scenarios"),
    "netem": ("fabric.delay_ms and fabric.loss_fraction", "scenarios with delay_ms or loss_fraction are refused"),
    "red": ("fabric.ecn_threshold_bytes", "scenarios with ecn_threshold_bytes are refused"),
}


def _queues(machine: Machine) -> Iterable[Finding]:
    for kind, (use, lack) in QUEUE_MEANING.items():
        if machine.qdiscs is None:
            yield Finding(f"queue {kind}", "unknown", "not tried without root", use)
        elif machine.qdiscs[kind]:
            yield Finding(f"queue {kind}", "ok", "added one", use)
        else:
            state: State = "missing" if kind == "tbf" else "limited"
            remedy = f"a kernel with sch_{kind}, e.g. the VM: vagrant up"
            yield Finding(f"queue {kind}", state, "refused by the kernel", lack, remedy)


def _transport(machine: Machine) -> Iterable[Finding]:
    found = CONGESTION_CONTROL in machine.congestion_controls
    yield Finding(
        "TCP",
        "ok" if found else "missing",
        " ".join(machine.congestion_controls) or "nothing",
        f"every rank's connections use {CONGESTION_CONTROL}",
        "" if found else f"modprobe tcp_{CONGESTION_CONTROL}",
    )


def _tools(machine: Machine) -> Iterable[Finding]:
    present = [tool for tool in machine.tools if tool.path is not None]
    for tool in machine.tools:
        if tool.path is None:
            remedy = f"./gse setup, or apt-get install {tool.package}"
            yield Finding(tool.name, "missing", "not in PATH", "no run is possible", remedy)
    versions = list(dict.fromkeys(tool.version for tool in present if tool.version and tool.name in VERSIONS_SHOWN))
    yield Finding("programs", "ok", f"{len(present)} of {len(machine.tools)} found", "; ".join(versions))


def _show(machine: Machine, switching: Switching, calibration: Calibration | None) -> None:
    console = Console()
    table = Table("what", "state", "found", "what it means, [bold]what to do[/]", title="What this machine can do")
    table.box = SIMPLE
    for line in findings(machine, switching):
        meaning = escape(line.meaning) + (f"\n[bold]{escape(line.remedy)}[/]" if line.remedy else "")
        table.add_row(line.what, f"[{STYLES[line.state]}]{line.state}[/]", escape(line.found), meaning)
    console.print(table)
    limits = Table(
        "hosts",
        *(f"MTU {mtu}" for mtu in MTUS_SHOWN),
        title="Highest link rate in Mbit/s when every host sends across leaves",
        caption=f"from {expected(machine, switching):,.0f} switch crossings/s ({machine.datapath} datapath)",
        box=SIMPLE,
        min_width=66,
    )
    for hosts in HOSTS_SHOWN:
        rates = (host_rate_limit_mbps(expected(machine, switching), hosts, mtu) for mtu in MTUS_SHOWN)
        limits.add_row(str(hosts), *(f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" for rate in rates))
    console.print(limits)
    console.print(_carried_table(calibration) if calibration is not None else NOT_CALIBRATED, highlight=False)


def _carried_table(calibration: Calibration) -> Table:
    """Return what was found by runs: the highest rate that was carried, and the next one, that was not."""
    kinds = sorted({(one.hosts, one.mtu_bytes) for one in calibration.found})
    days = sorted({(one.made_utc or "?")[:10] for one in calibration.found})
    commits = sorted({(one.commit or "unknown")[:7] for one in calibration.found})
    table = Table(
        "hosts",
        "MTU",
        *AGENTS_SHOWN.values(),
        title="Rates in Mbit/s at which ring all-reduces were VALID (the next tried was not; ?: others disturbed it)",
        caption=escape(f"calibrated {' to '.join(dict.fromkeys((days[0], days[-1])))}, commit {', '.join(commits)}"),
        box=SIMPLE,
        min_width=66,
    )
    for hosts, mtu_bytes in kinds:
        cells = {
            one.attachment: _rates(one) for one in calibration.found if (one.hosts, one.mtu_bytes) == (hosts, mtu_bytes)
        }
        table.add_row(str(hosts), str(mtu_bytes), *(cells.get(place, "-") for place in AGENTS_SHOWN))
    return table


def _rates(one: Carried) -> str:
    beyond = "" if one.beyond_mbps is None else f" ({one.beyond_mbps:g}{'?' if one.disturbed else ''})"
    return ("none" if one.rate_mbps is None else f"{one.rate_mbps:g}") + beyond


def _bytes(count: int | None) -> str:
    return "not visible here" if count is None else f"{count:,} B"
