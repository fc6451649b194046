"""The agents as machine code, where they have been compiled: the same modules, from another folder.

``testbed.agent.compiling`` makes the folder from the sources by mypyc. Its name is a digest of them, so that code
which has changed since is never taken for what it was. Whoever wants the compiled modules calls ``use`` before he
imports any of them; nobody has to.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
CORE: Final = "testbed.gse.dataplane"
SHELL: Final = "testbed.agent"
# Profile is a pydantic model, which mypyc cannot compile, and status is asked once in a while.
LEFT_OUT: Final = ("__init__.py", "profile.py", "status.py")
AROUND: Final = ("agent.py", "loop.py", "sockets.py")  # what of the process around the core is busy with frames
COMPLETE: Final = "complete.json"  # written last: every file with its size
INTERPRET: Final = "GSE_INTERPRET"  # environment: 1 to leave compiled modules alone
KINDS: Final = ("interpreted", "compiled")


def sources() -> list[Path]:
    """Return the modules that are compiled."""
    core = (path for path in _folder_of(CORE).glob("*.py") if path.name not in LEFT_OUT)
    return sorted([*core, *(_folder_of(SHELL) / name for name in AROUND)])


def folder() -> Path:
    """Return where the compiled modules of the present sources are, or would be. Raises OSError."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for text in (importlib.machinery.EXTENSION_SUFFIXES[0], _compiler()):
        digest.update(text.encode() + b"\0")
    return Path(sys.prefix) / "compiled" / digest.hexdigest()[:16]


def is_whole(compiled: Path) -> bool:
    """Return whether a folder has everything that was compiled into it: power may fail, and disks fill."""
    try:
        sizes = json.loads((compiled / COMPLETE).read_text())
        return bool(sizes) and all((compiled / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def use() -> str:
    """Let imports find compiled modules, if there are any. Return ``compiled`` or ``interpreted``."""
    found = folder()
    if os.environ.get(INTERPRET) == "1" or not is_whole(found):
        return KINDS[0]
    for name in (CORE, SHELL):
        importlib.import_module(name).__path__.insert(0, str(found.joinpath(*name.split("."))))
    sys.path.append(str(found))  # what the modules share
    return KINDS[1]


def _folder_of(package: str) -> Path:
    return PROJECT.joinpath(*package.split("."))


def _compiler() -> str:
    try:
        return metadata.version("mypy")
    except metadata.PackageNotFoundError:
        return "none"
