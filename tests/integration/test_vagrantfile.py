"""The Vagrantfile is valid for both providers, whatever the environment chooses (where Vagrant is installed)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.beside,
    pytest.mark.skipif(shutil.which("vagrant") is None, reason="Vagrant is not installed"),
]

# Vagrant looks into the virtualbox block only when it finds VirtualBox; --version is all it asks.
VBOXMANAGE = '#!/bin/sh\ncase "$1" in --version | -v) echo 6.1.38r153438 ;; esac\n'


def validate(directory: Path, tmp_path: Path, provider: str, **environment: str) -> subprocess.CompletedProcess[str]:
    stub = tmp_path / "bin" / "VBoxManage"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(VBOXMANAGE)
    stub.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VAGRANT_", "TESTBED_"))}
    env = {
        **clean,
        **environment,
        "PATH": f"{stub.parent}:{os.environ['PATH']}",
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"),
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }
    return subprocess.run(
        ["vagrant", "validate"], cwd=directory, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("provider", ["libvirt", "virtualbox"])
def test_defaults_are_valid(tmp_path: Path, provider: str) -> None:
    done = validate(PROJECT, tmp_path, provider)
    assert done.returncode == 0, done.stdout + done.stderr


def test_box_driver_and_certificates_from_the_environment_are_valid(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("made up\n")
    done = validate(
        PROJECT, tmp_path, "libvirt", TESTBED_BOX="testbed/bookworm", TESTBED_DRIVER="qemu", TESTBED_CA=str(authority)
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_certificates_that_do_not_exist_are_noticed(tmp_path: Path) -> None:
    done = validate(PROJECT, tmp_path, "libvirt", TESTBED_CA=str(tmp_path / "nothing.crt"))
    assert done.returncode != 0
    assert "nothing.crt" in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_copy_in_the_vm_will_know_its_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        argv = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(checkout), *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    checkout = tmp_path / "checkout"
    checkout.mkdir()
    shutil.copy(PROJECT / "Vagrantfile", checkout)
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    head = git("rev-parse", "HEAD")
    (checkout / "COMMIT").write_text("an older one\n")
    done = validate(checkout, tmp_path, "libvirt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / "COMMIT").read_text() == f"{head}\n"
    with (checkout / "Vagrantfile").open("a") as file:
        file.write("# changed\n")
    assert validate(checkout, tmp_path, "libvirt").returncode == 0
    assert (checkout / "COMMIT").read_text() == f"{head}-dirty\n"


@pytest.mark.parametrize(("provider", "setting"), [("libvirt", "lv.cpus"), ("virtualbox", "vb.cpus")])
def test_a_wrong_setting_would_be_noticed(tmp_path: Path, provider: str, setting: str) -> None:
    text = (PROJECT / "Vagrantfile").read_text()
    assert text.count(f"{setting} = ") == 1
    (tmp_path / "Vagrantfile").write_text(text.replace(f"{setting} = ", f"{setting}z = "))
    assert validate(tmp_path, tmp_path, provider).returncode != 0
