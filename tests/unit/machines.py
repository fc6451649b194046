"""A machine that can run everything, for tests to take things away from."""

from __future__ import annotations

from testbed.system.machine import TOOLS, Machine, Tool

GOOD = Machine(
    uid=0,
    kernel="6.1.0",
    distribution="Debian GNU/Linux 12 (bookworm)",
    architecture="x86_64",
    python="3.11.2",
    cpu="made up",
    cores=2,
    memory_available_bytes=8 * 2**30,
    processes_available=30_000,
    open_files=1_048_576,
    address_space_bytes=None,
    file_size_bytes=None,
    capsule_error=None,
    capsule_tried=True,
    datapath="userspace",
    tun=True,
    qdiscs={"tbf": True, "htb": True, "netem": True, "red": True},
    congestion_controls=("reno", "cubic"),
    tools=tuple(Tool(name, package, f"/bin/{name}", "1.0") for name, (package, _) in TOOLS.items()),
    rmem_default_bytes=212_992,
    rmem_max_bytes=212_992,
    results_dir="results",
    results_free_bytes=10**10,
)
