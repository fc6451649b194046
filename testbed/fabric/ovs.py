"""Private Open vSwitch daemons of a capsule: start them, find them, give their sockets room."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import CommandError, NetworkError
from testbed.system.command import run
from testbed.system.preload import remove_if_ours, wakeups_library
from testbed.system.vigil import raised_by_end_of

RUN_DIR: Final = Path("/run/openvswitch")
SCHEMA: Final = Path("/usr/share/openvswitch/vswitch.ovsschema")
RECEIVE_BUFFER_BYTES: Final = 8 * 1024 * 1024
SYS_PIDFD_GETFD: Final = 438
SO_RCVBUFFORCE: Final = 33
SO_SNDBUFFORCE: Final = 32
MAX_BUFFER_BYTES: Final = 2**30 - 1  # the kernel doubles it

# A receive round takes and gives back 32 jumbo buffers for each port, whether frames have come or not. tcmalloc keeps
# them at hand: a round is 40% cheaper than with glibc's heap, which is what remains where the library is missing.
ALLOCATOR: Final = "libtcmalloc_minimal.so.4"
# glibc gives freed packet buffers back to the kernel and asks for them again on every receive batch
# unless told to keep them; with jumbo frames that costs a third of vswitchd's time (docs/design.md).
KEEP_HEAP: Final = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_TOP_PAD_": "8388608",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
}


@dataclass(frozen=True)
class Daemons:
    """PIDs of the running daemons."""

    ovsdb_pid: int
    vswitchd_pid: int
    wake_interval_s: float | None  # the switches look at their ports at most once in as long; None: at each frame


@dataclass(frozen=True)
class PacketSockets:
    """How many packet sockets were enlarged: bound to a port (receiving) or not (the sending one)."""

    receiving: int
    sending: int


def start_daemons(log_dir: Path, wake_interval_s: float | None = None) -> Daemons:
    """Start ovsdb-server and ovs-vswitchd of this capsule; they are ready when this returns.

    With ``wake_interval_s`` the switches look at their ports at most once in as long, where the library for it has
    been built (``testbed.system.preload``). ``--detach`` returns once the daemon answers, so nothing has to be polled.
    From then on OVS_RUNDIR names these daemons. For the main thread only. Raises CommandError (the daemon refused to
    start) or NetworkError (it left no PID, did not load a library, or the database has died meanwhile).
    """
    # for ovs-vsctl, ours and Mininet's, too: one that was built elsewhere, or is told of a sandbox, would else ask the
    # machine's own daemons, whose socket is not covered by the capsule
    os.environ["OVS_RUNDIR"] = str(RUN_DIR)
    env = {**os.environ, "OVS_DBDIR": str(RUN_DIR), "OVS_LOGDIR": str(log_dir)}
    database = RUN_DIR / "conf.db"
    run(["ovsdb-tool", "create", str(database), str(SCHEMA)], env=env)
    run(
        [
            "ovsdb-server", str(database), f"--remote=punix:{RUN_DIR}/db.sock", "--detach", "--no-chdir",
            f"--pidfile={RUN_DIR}/ovsdb-server.pid", f"--log-file={log_dir}/ovsdb-server.log", "-vconsole:off",
        ],
        env=env,
    )  # fmt: skip
    ovsdb_pid, wakeups = _pid("ovsdb-server"), wakeups_library() if wake_interval_s is not None else None
    libraries = [library for library in (allocator(), wakeups) if library is not None]
    if wakeups is None:
        wake_interval_s = None
    try:
        # what comes now asks the database and waits for it, for half a minute and in silence once it has died
        with raised_by_end_of({"ovsdb-server": ovsdb_pid}):
            run(["ovs-vsctl", "--no-wait", "init"], env=env)
            run(
                [
                    "ovs-vswitchd", f"unix:{RUN_DIR}/db.sock", "--detach", "--no-chdir",
                    f"--pidfile={RUN_DIR}/ovs-vswitchd.pid", f"--log-file={log_dir}/ovs-vswitchd.log", "-vconsole:off",
                ],
                env={**env, **KEEP_HEAP, **_preloading(libraries, wake_interval_s)},
            )  # fmt: skip
    except (CommandError, NetworkError, ProcessLookupError) as error:
        if _runs(ovsdb_pid):
            raise
        raise NetworkError(f"ovsdb-server (pid {ovsdb_pid}) is not running any more: {error}") from None
    vswitchd_pid = _pid("ovs-vswitchd")
    _check_loaded(vswitchd_pid, libraries)
    return Daemons(ovsdb_pid, vswitchd_pid, wake_interval_s)


def _preloading(libraries: Sequence[Path], wake_interval_s: float | None) -> dict[str, str]:
    """Return what vswitchd's environment has to say; by links, for ld.so ends names at colons and blanks."""
    links = [RUN_DIR / f"preload-{number}.so" for number in range(len(libraries))]
    for link, library in zip(links, libraries, strict=True):
        link.symlink_to(library)
    interval = {} if wake_interval_s is None else {"GSE_WAKE_INTERVAL_NS": str(round(wake_interval_s * 1e9))}
    return interval | ({"LD_PRELOAD": ":".join(map(str, links))} if links else {})


def _check_loaded(pid: int, libraries: Sequence[Path]) -> None:
    """Raise NetworkError if a library is missing from the process: ld.so only warns."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError as error:
        raise NetworkError(f"ovs-vswitchd (pid {pid}): {error}") from None
    missing = [library for library in libraries if str(library.resolve()) not in maps]
    if missing:
        removed = [str(library) for library in missing if remove_if_ours(library)]
        hint = f"; removed, for the next run to make it anew: {', '.join(removed)}" if removed else ""
        raise NetworkError(f"ovs-vswitchd did not load {', '.join(map(str, missing))}{hint}")


def allocator() -> Path | None:
    """Return the library vswitchd takes its buffers from; None: the C library's own."""
    path = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "", ALLOCATOR)
    return path if path.exists() else None


def _pid(name: str) -> int:
    path = RUN_DIR / f"{name}.pid"
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise NetworkError(f"{name} left no usable {path}: {error}") from None


def _runs(pid: int) -> bool:
    """Return whether a process is there and not merely waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def enlarge_packet_buffers(vswitchd_pid: int, send_buffer_bytes: int) -> PacketSockets:
    """Give vswitchd's packet sockets room, so that only the modelled queues lose frames.

    The userspace datapath reads every port through an AF_PACKET socket: with the default buffer a
    scheduling stall of a few ms loses frames that no switch counter shows. And it sends to *all* ports
    through one AF_PACKET socket, which is charged for every frame that waits in any queue: with the default
    buffer about 13 waiting jumbo frames in the whole fabric make it drop the next one, unseen by every
    queue counter. ``send_buffer_bytes`` must cover all queues of the fabric together.

    The usual cure, net.core.{r,w}mem_default, is machine-wide; duplicating the descriptors (pidfd_getfd) changes
    only ours. The sending socket exists once a frame has been sent: call this again after the first traffic.
    Raises NetworkError when the kernel refuses.
    """
    receiving = sending = 0
    for sock in _packet_sockets(vswitchd_pid):
        with sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
                sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, min(send_buffer_bytes, MAX_BUFFER_BYTES))
            except OSError as error:
                raise NetworkError(f"cannot enlarge a packet socket of ovs-vswitchd: {error}") from None
            if sock.getsockname()[0]:
                receiving += 1
            else:
                sending += 1
    return PacketSockets(receiving, sending)


def _packet_sockets(vswitchd_pid: int) -> Iterator[socket.socket]:
    """Yield a duplicate of each AF_PACKET socket of vswitchd."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(vswitchd_pid)
    try:
        for entry in Path(f"/proc/{vswitchd_pid}/fd").iterdir():
            try:
                if not os.readlink(entry).startswith("socket:"):
                    continue
            except FileNotFoundError:  # closed meanwhile
                continue
            copy = libc.syscall(SYS_PIDFD_GETFD, pidfd, int(entry.name), 0)
            if copy < 0:
                number = ctypes.get_errno()
                if number == errno.EBADF:  # closed since it was read: connections to its control socket come and go
                    continue
                raise NetworkError(f"pidfd_getfd of ovs-vswitchd's descriptor {entry.name}: {os.strerror(number)}")
            sock = socket.socket(fileno=copy)
            if sock.family == socket.AF_PACKET:
                yield sock
            else:
                sock.close()
    finally:
        os.close(pidfd)
