"""A program that sends beside the ranks (small messages, flows), run as a run runs it: told and heard in JSON lines."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
needs_namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")


class Program:
    def __init__(self, module: str, tmp_path: Path, fields: dict[str, Any]) -> None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(fields))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--config", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
        )

    def hear(self, timeout_s: float = 20) -> dict[str, Any]:
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], timeout_s)[0], "it says nothing"
        return dict(json.loads(self.process.stdout.readline()))

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"command": command}).encode() + b"\n")
        self.process.stdin.flush()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()
