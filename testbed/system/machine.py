"""What this machine can do, found out by looking and trying; nothing is assumed from names or versions.

Experiments with queues and namespaces happen in throw-away namespaces. The one change it may make to
the machine is to load the kernel's openvswitch module, which no run capsule could do for itself.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from testbed.errors import CommandError, Problem
from testbed.model import capacity
from testbed.model.capacity import Datapath as Datapath  # part of what this module tells
from testbed.model.rates import rate_factor
from testbed.model.scenario import Scenario
from testbed.system import genetlink
from testbed.system.capsule import capsule_argv
from testbed.system.command import run
from testbed.system.limits import (
    address_space_limit,
    available_memory_bytes,
    available_processes,
    cgroup_limits,
    file_size_limit,
    open_files_limit,
    proc_field,
    read_text,
    usable_cores,
)

QDISCS: Final = {
    "tbf": "tbf rate 10mbit burst 20000 limit 100000",
    "htb": "handle 1: htb",
    "netem": "netem delay 1ms",
    "red": "red limit 100000 min 10000 max 30000 avpkt 1000 burst 20 bandwidth 10mbit ecn nodrop",
}
# program -> (Debian package, arguments that print its version)
TOOLS: Final = {
    "ovs-vswitchd": ("openvswitch-switch", ["--version"]),
    "ovsdb-server": ("openvswitch-common", ["--version"]),
    "ovs-vsctl": ("openvswitch-common", ["--version"]),
    "ovs-ofctl": ("openvswitch-common", ["--version"]),
    "mnexec": ("mininet", ["-v"]),
    "iperf3": ("iperf3", ["--version"]),
    "ip": ("iproute2", ["-V"]),
    "tc": ("iproute2", ["-V"]),
    "ss": ("iproute2", ["-V"]),
    "ethtool": ("ethtool", ["--version"]),
    "unshare": ("util-linux", ["--version"]),
    "setpriv": ("util-linux", ["--version"]),
    "ping": ("iputils-ping", ["-V"]),
}
NET_SYSCTLS: Final = Path("/proc/sys/net")
CONGESTION_CONTROL: Final = "cubic"
MIN_FREE_DISK_BYTES: Final = 200_000_000
MIN_ADDRESS_SPACE_BYTES: Final = 4_000_000_000  # threads and libraries map far more than they use
MIN_FILE_SIZE_BYTES: Final = 1_000_000_000


@dataclass(frozen=True)
class Tool:
    """A program the testbed starts; ``path`` and ``version`` are None when it is missing."""

    name: str
    package: str
    path: str | None
    version: str | None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was found. None means: could not be looked at by this user."""

    uid: int
    kernel: str
    distribution: str
    architecture: str
    python: str
    cpu: str
    cores: float
    memory_available_bytes: int
    processes_available: int
    open_files: int
    address_space_bytes: int | None  # None: not limited, as the next
    file_size_bytes: int | None
    capsule_error: str | None
    capsule_tried: bool
    datapath: Datapath
    tun: bool
    qdiscs: dict[str, bool] | None
    congestion_controls: tuple[str, ...]
    tools: tuple[Tool, ...]
    rmem_default_bytes: int | None  # None: older kernels hide it from network namespaces
    rmem_max_bytes: int | None
    results_dir: str
    results_free_bytes: int

    @property
    def is_root(self) -> bool:
        """Whether this user may make capsules at all."""
        return self.uid == 0

    @property
    def ceiling_crossings_per_s(self) -> float:
        """Most switch crossings per second to be asked of this machine (testbed.model.capacity)."""
        return capacity.ceiling_crossings_per_s(self.datapath, self.cores)

    def to_json(self) -> dict[str, Any]:
        """Return everything found as a JSON value (for the manifest and ``doctor --json``)."""
        return {**asdict(self), "ceiling_crossings_per_s": round(self.ceiling_crossings_per_s)}


def inspect_machine(results_dir: Path = Path("results")) -> Machine:
    """Look at this machine; takes about 0.1 s. ``results_dir`` need not exist yet."""
    limits = cgroup_limits()
    tried = os.geteuid() == 0
    return Machine(
        uid=os.geteuid(),
        kernel=platform.release(),
        distribution=_distribution(),
        architecture=platform.machine(),
        python=platform.python_version(),
        cpu=proc_field("/proc/cpuinfo", "model name") or platform.machine(),
        cores=usable_cores(limits),
        memory_available_bytes=available_memory_bytes(limits),
        processes_available=available_processes(limits),
        open_files=open_files_limit(),
        address_space_bytes=address_space_limit(),
        file_size_bytes=file_size_limit(),
        capsule_error=_try_capsule() if tried else None,
        capsule_tried=tried,
        datapath=find_datapath(),
        tun=os.access("/dev/net/tun", os.R_OK | os.W_OK),
        qdiscs=_try_qdiscs() if tried else None,
        congestion_controls=tuple(read_text(NET_SYSCTLS / "ipv4/tcp_available_congestion_control").split()),
        tools=tuple(_tool(name) for name in TOOLS),
        rmem_default_bytes=_sysctl("core/rmem_default"),
        rmem_max_bytes=_sysctl("core/rmem_max"),
        results_dir=str(results_dir),
        results_free_bytes=_free_bytes(results_dir),
    )


def find_datapath() -> Datapath:
    """Return ``kernel`` where the kernel has Open vSwitch, loading the module when root, else ``userspace``.

    Asking for the generic netlink family is what ovs-vswitchd itself does, and makes the kernel load the
    module; modprobe is the second try, for kernels built without that alias.
    """
    if _kernel_switches():
        return "kernel"
    if os.geteuid() == 0 and shutil.which("modprobe"):
        loaded = run(["modprobe", "-q", "openvswitch"], check=False).exit_status == 0
        if loaded and _kernel_switches():
            return "kernel"
    return "userspace"


def _kernel_switches() -> bool:
    try:
        return genetlink.family_exists("ovs_datapath")
    except OSError:  # a kernel without generic netlink (gVisor is one) has no switches either
        return False


def check_machine(machine: Machine) -> list[Problem]:
    """Return what keeps this machine and user from running anything at all."""
    problems = []
    if not machine.is_root:
        what = "runs need root (network namespaces, Open vSwitch, tc)"
        problems.append(Problem(what, "user", f"uid {machine.uid}", "uid 0; use sudo"))
    problems += [
        Problem(f"program missing: {tool.name}", "PATH", "nothing", f"apt-get install {tool.package} (or ./gse setup)")
        for tool in machine.tools
        if tool.path is None
    ]
    if machine.capsule_error is not None:
        expected = "a machine, VM or privileged container"
        problems.append(Problem("namespaces cannot be made", "unshare", machine.capsule_error, expected))
    if machine.datapath == "userspace" and not machine.tun:
        what, expected = "the userspace datapath needs tap devices", "modprobe tun, or docker run --device /dev/net/tun"
        problems.append(Problem(what, "/dev/net/tun", "no access", expected))
    if machine.qdiscs is not None and not machine.qdiscs["tbf"]:
        problems.append(_no_qdisc("links cannot be shaped", "tc", "tbf"))
    if CONGESTION_CONTROL not in machine.congestion_controls:
        got, expected = (
            " ".join(machine.congestion_controls),
            f"{CONGESTION_CONTROL} (modprobe tcp_{CONGESTION_CONTROL})",
        )
        problems.append(Problem("TCP congestion control missing", "kernel", got, expected))
    if machine.results_free_bytes < MIN_FREE_DISK_BYTES:
        problems.append(
            Problem(
                "disk nearly full",
                machine.results_dir,
                f"{machine.results_free_bytes / 1e6:.0f} MB free",
                f"at least {MIN_FREE_DISK_BYTES / 1e6:.0f} MB",
            )
        )
    return problems + _resource_limits(machine)


def _resource_limits(machine: Machine) -> list[Problem]:
    limits = (
        ("memory a process may map is limited", "ulimit -v", machine.address_space_bytes, MIN_ADDRESS_SPACE_BYTES),
        ("size of files is limited", "ulimit -f", machine.file_size_bytes, MIN_FILE_SIZE_BYTES),
    )
    return [
        Problem(what, where, f"{limit / 1e6:,.0f} MB", f"at least {least / 1e6:,.0f} MB, or unlimited")
        for what, where, limit, least in limits
        if limit is not None and limit < least
    ]


def check_scenario(scenario: Scenario, machine: Machine) -> list[Problem]:
    """Return what this machine cannot honour of ``scenario``; never a setting silently dropped."""
    problems = check_machine(machine)
    fabric, where = scenario.fabric, f"scenario {scenario.name}"
    if machine.qdiscs is not None:
        wanted = {
            "delay_ms": ("netem", fabric.delay_ms),
            "loss_fraction": ("netem", fabric.loss_fraction),
            "ecn_threshold_bytes": ("red", fabric.ecn_threshold_bytes),
            "priority_band": ("htb", fabric.priority_band or None),
        }
        problems += [
            _no_qdisc(f"{field}={value:g} cannot be emulated", f"{where}: fabric.{field}", kind)
            for field, (kind, value) in wanted.items()
            if value is not None and not machine.qdiscs[kind]
        ]
    return problems + _too_much(scenario, machine, where)


def _too_much(scenario: Scenario, machine: Machine, where: str) -> list[Problem]:
    need, problems = capacity.need(scenario), []
    ceiling = machine.ceiling_crossings_per_s
    if need.crossings_per_s > ceiling:
        problems.append(
            Problem(
                f"more traffic than this machine can switch ({machine.datapath} datapath, {machine.cores:g} cores)",
                f"{where}: fabric",
                f"{need.crossings_per_s:,.0f} switch crossings/s from {scenario.ranks} ranks at "
                f"{scenario.fabric.host_link_mbps:g} Mbit/s, MTU {scenario.fabric.mtu_bytes}",
                f"at most {ceiling:,.0f}: {_slower(scenario, ceiling)}fewer ranks"
                + ("" if scenario.fabric.mtu_bytes >= 9000 else ", or fabric.mtu_bytes=9000"),
            )
        )
    if need.memory_bytes > machine.memory_available_bytes:
        problems.append(
            Problem(
                "more memory than this machine has",
                f"{where}: workload.size_bytes and ranks",
                f"about {need.memory_bytes / 1e6:,.0f} MB",
                f"at most {machine.memory_available_bytes / 1e6:,.0f} MB available",
            )
        )
    if need.processes > machine.processes_available:
        problems.append(
            Problem(
                "more processes than this machine allows",
                f"{where}: fabric",
                f"about {need.processes}",
                f"at most {machine.processes_available} (pid_max, ulimit -u or a container's limit)",
            )
        )
    if need.files > machine.open_files:
        problems.append(
            Problem(
                "more open files than this machine allows",
                f"{where}: fabric",
                f"about {need.files}",
                f"at most {machine.open_files} (ulimit -n)",
            )
        )
    return problems


def _slower(scenario: Scenario, ceiling: float) -> str:
    """Return the advice to lower all rates, where that helps."""
    factor = rate_factor(scenario, ceiling)
    if factor is None:
        return "whatever the rates (probes, small messages and bursts alone are more); fewer of those, "
    return f"rates x {factor:g} (results are fractions of line rate; --auto-rate does it), "


def _no_qdisc(what: str, where: str, kind: str) -> Problem:
    return Problem(what, where, f"a kernel without sch_{kind}", f"a kernel with sch_{kind}, e.g. the VM: vagrant up")


def _try_capsule() -> str | None:
    """Make a capsule and leave it; return what went wrong, or None."""
    try:
        run(capsule_argv(["true"]), timeout_s=10)
    except CommandError as error:
        return error.stderr.strip() or str(error)
    return None


def _try_qdiscs() -> dict[str, bool]:
    """Try each queue on the loopback of a throw-away namespace; ``tc -force -batch`` names the lines that failed."""
    lines = "".join(f"qdisc replace dev lo root {arguments}\n" for arguments in QDISCS.values())
    try:
        result = run(["unshare", "--net", "tc", "-force", "-batch", "-"], stdin=lines, check=False)
    except CommandError:
        return dict.fromkeys(QDISCS, False)
    failed = {int(number) for number in re.findall(r"Command failed -:(\d+)", result.stderr)}
    if result.exit_status != 0 and not failed:
        return dict.fromkeys(QDISCS, False)
    return {kind: number not in failed for number, kind in enumerate(QDISCS, start=1)}


def _tool(name: str) -> Tool:
    package, arguments = TOOLS[name]
    path = shutil.which(name)
    if path is None:
        return Tool(name, package, None, None)
    try:
        result = run([path, *arguments], check=False, timeout_s=10)
    except CommandError:
        return Tool(name, package, path, None)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return Tool(name, package, path, lines[0] if lines else None)


def _free_bytes(path: Path) -> int:
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown Linux")
    except OSError:
        return "unknown Linux"


def _sysctl(name: str) -> int | None:
    text = read_text(NET_SYSCTLS / name)
    return int(text) if text else None
