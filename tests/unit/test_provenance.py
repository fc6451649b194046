"""What is said of the code that makes a result, without a trace left in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.system import provenance


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_checkout_is_looked_at_and_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root would, while somebody works in it."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    module = tmp_path / "testbed/system/provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("first\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    monkeypatch.setattr(provenance, "__file__", str(module))
    clean = provenance.commit()
    assert clean is not None and len(clean) == 40
    module.write_text("first\n")  # the same with another time: the index would be refreshed
    index = tmp_path / ".git/index"
    before = index.stat().st_ino, index.stat().st_mtime_ns
    assert provenance.commit() == clean
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == before
    module.write_text("second\n")
    assert provenance.commit() == f"{clean}-dirty"
