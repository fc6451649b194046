"""What GSOS must not forget when it dies: jobs and placements, in a file beside its socket."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

STATE_VERSION = 1


class Store:
    """A state file, replaced as a whole. ``identity`` keeps the state of another fabric or scheme out."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._written: str | None = None

    def load(self) -> dict[str, Any] | None:
        """Return the snapshot of an earlier GSOS for the same plan; None when there is none that can be used."""
        try:
            value = json.loads(self._path.read_text())
            usable = value["version"] == STATE_VERSION and value["identity"] == self._identity
            snapshot = dict(value["snapshot"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("state file %s is of no use (%s): starting without it", self._path, error)
            return None
        if not usable:
            log.warning("state file %s is from another plan: starting without it", self._path)
            return None
        return snapshot

    def save(self, snapshot: dict[str, Any]) -> None:
        """Replace the file unless nothing has changed. A failure is logged: the fabric matters more than the file."""
        text = json.dumps({"version": STATE_VERSION, "identity": self._identity, "snapshot": snapshot})
        if text == self._written:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            fresh.replace(self._path)
        except OSError as error:
            log.error("state cannot be written to %s: %s", self._path, error)
            return
        self._written = text
