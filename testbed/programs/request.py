"""What a user asks to be run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command for every rank. ``cwd``: where it runs; ``mpi``: started by mpirun; ``timeout_s``: when it is given up.

    ``argv`` may contain placeholders (``testbed.programs.placeholders``).
    """

    argv: tuple[str, ...]
    cwd: str
    timeout_s: float
    mpi: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as it is stored in plans and manifests."""
        return {"argv": list(self.argv), "cwd": self.cwd, "timeout_s": self.timeout_s, "mpi": self.mpi}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Request:
        """Read it again. Raises KeyError, TypeError or ValueError."""
        return cls(
            argv=tuple(map(str, value["argv"])),
            cwd=str(value["cwd"]),
            timeout_s=float(value["timeout_s"]),
            mpi=bool(value["mpi"]),
        )
