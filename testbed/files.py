"""Files of strangers are read only when they are ordinary and not huge; ours are put in place whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from testbed.units import GIB, MIB

MAX_JSON_BYTES: Final = 64 * MIB
MAX_TABLE_BYTES: Final = 256 * MIB
MAX_CAPTURE_BYTES: Final = 4 * GIB
MAX_JOURNAL_BYTES: Final = 4 * GIB
MOST_LINKS: Final = 40  # that lead to each other, as the kernel has it
KINDS: Final = {
    stat.S_IFDIR: "Is a directory",
    stat.S_IFIFO: "a FIFO, not a regular file",
    stat.S_IFSOCK: "a socket, not a regular file",
    stat.S_IFCHR: "a device, not a regular file",
    stat.S_IFBLK: "a device, not a regular file",
}


def open_input(path: Path, most_bytes: int) -> BinaryIO:
    """Open a regular file of at most ``most_bytes``. Raises OSError, also for any other kind of file, never waits."""
    _check(path, os.stat(path), most_bytes)  # before opening: that alone makes some devices act
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(fd), most_bytes)
    except OSError:
        os.close(fd)
        raise
    return open(fd, "rb")


def read_input(path: Path, most_bytes: int) -> bytes:
    """Return what a regular file of at most ``most_bytes`` holds. Raises OSError."""
    with open_input(path, most_bytes) as file:
        return file.read(most_bytes + 1)


def _check(path: Path, found: os.stat_result, most_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
        raise OSError(errno.EINVAL, kind, str(path))
    if found.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"{found.st_size:,} bytes, more than {most_bytes:,}", str(path))


def write_together(out_dir: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Put files (relative name -> content) below ``out_dir`` and return their paths. Raises OSError.

    They are written beside it first and then renamed into place, so a symbolic link of that name is replaced and not
    followed, and a full disk leaves the old files. A link in place of a folder below ``out_dir`` is refused, and so is
    what no file may take the place of: root would make one of ``/dev/null``, and who reads a pipe would wait for ever.
    """
    for name in contents:
        _refuse_special(out_dir / name)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    # within the folder where there is one: its parent may be another file system, or not this user's
    beside = out_dir if out_dir.is_dir() else out_dir.parent
    with tempfile.TemporaryDirectory(prefix=".gse-", dir=beside) as temporary:
        sources = [Path(temporary, str(number)) for number in range(len(contents))]
        for source, content in zip(sources, contents.values(), strict=True):
            source.write_bytes(content)
            give_to_caller(source)
        targets = [out_dir / name for name in contents]
        _make_folders({target.parent for target in targets}, out_dir)
        for source, target in zip(sources, targets, strict=True):
            source.replace(target)
    return targets


def _refuse_special(target: Path) -> None:
    """Raise OSError for a device, a pipe or a socket, for a link to one, and for one to an open file (/dev/stdout)."""
    try:
        own = os.lstat(target)
        found = os.stat(target) if stat.S_ISLNK(own.st_mode) else own
    except OSError:  # nothing is there, or a link to nothing
        return
    if stat.S_ISDIR(found.st_mode):
        return
    kind = KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None and stat.S_ISLNK(own.st_mode) and _is_of_proc(target):
        kind = "an open file, not one of a folder"
    if kind is not None:
        raise OSError(errno.EINVAL, kind, str(target))


def _is_of_proc(link: Path) -> bool:
    """Whether a link leads through /proc, as /dev/stdout does, where it stands for what a process has open."""
    for _hop in range(MOST_LINKS):
        if not link.is_symlink():
            return False
        link = link.parent / os.readlink(link)
        if os.path.normpath(link).startswith("/proc/"):
            return True
    return False


def _make_folders(folders: Iterable[Path], out_dir: Path) -> None:
    for folder in (out_dir, *sorted(set(folders) - {out_dir})):
        if folder != out_dir and folder.is_symlink():
            raise OSError(errno.ELOOP, "a symbolic link", str(folder))
        if not folder.is_dir():
            folder.mkdir()
            give_to_caller(folder)


def give_to_caller(path: Path) -> None:
    """Under sudo, hand a file to the user who called sudo, so that results can be deleted without root."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdigit() and gid.isdigit():
        os.chown(path, int(uid), int(gid), follow_symlinks=False)
