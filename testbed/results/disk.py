"""What a disk refuses, said in words with what can be done about it, and folders that belong to who called sudo."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import Problem, ResultsError
from testbed.files import give_to_caller

REMEDIES = {
    errno.ENOSPC: "free space on that file system",
    errno.EDQUOT: "free quota",
    errno.EROFS: "a writable file system",
    errno.EACCES: "permission for this user",
}


@contextmanager
def os_errors(what: str, where: Path) -> Iterator[None]:
    """Translate OSError into ResultsError with what can be done about it."""
    try:
        yield
    except OSError as error:
        expected = REMEDIES.get(error.errno or 0, "a writable directory")
        raise ResultsError(
            Problem(what, str(error.filename or where), error.strerror or str(error), expected)
        ) from None


def make_parents(path: Path) -> None:
    """Make a folder and what is missing above it, and hand them to who called sudo. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        give_to_caller(folder)
