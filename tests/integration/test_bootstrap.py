"""./gse on small stand-in projects: what is installed when, and what happens when it cannot be.

The script is the real one; apt-get and dpkg-query are stand-ins that record what they are asked, pip is real but
sees only a directory of wheels.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside

PROJECT = Path(__file__).resolve().parents[2]
SETUP = """\
from setuptools import setup
setup(name="gse-testbed", version="{version}", packages=["testbed", "testbed.cli"], install_requires={requires},
      extras_require={{"dev": ["gse-dev-marker"]}}, entry_points={{"console_scripts": ["gse = testbed.cli.main:main"]}})
"""
MAIN = """\
import importlib.metadata, importlib.util, json, os, sys
def main():
    print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "version": importlib.metadata.version("gse-testbed"),
                      "dev": importlib.util.find_spec("gse_dev_marker") is not None}))
    return 7
"""
STATUS_OF_PROGRAM = 7


@dataclass
class Checkout:
    """A stand-in project with the real ./gse, and a machine whose packages are files in ``installed``."""

    root: Path
    bin: Path
    wheels: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, *, version: str = "1", requires: tuple[str, ...] = ()) -> None:
        (self.root / "setup.py").write_text(SETUP.format(version=version, requires=list(requires)))

    def command(self, *argv: str) -> list[str]:
        return [str(self.root / "gse"), *argv]

    def start(self, *argv: str, prefix: tuple[str, ...] = (), cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*prefix, *self.command(*argv)],
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *argv: str, prefix: tuple[str, ...] = (), cwd: Path | None = None) -> tuple[int, str, str]:
        process = self.start(*argv, prefix=prefix, cwd=cwd)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def forget_package(self, name: str) -> None:
        (self.bin / "installed" / name).unlink()

    def apt_calls(self) -> list[str]:
        path = self.bin / "apt.log"
        return path.read_text().splitlines() if path.exists() else []


def script(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the build tools ./gse pins, and a package that marks the dev extra."""
    directory = tmp_path_factory.mktemp("wheels")
    pins = [line.split('"')[1] for line in (PROJECT / "gse").read_text().splitlines() if line.startswith("SETUPTOOLS=")]
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(directory), *pins, "wheel==0.45.1"],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode != 0:
        pytest.skip(f"no package index to take {pins} from: {fetched.stderr.strip()[-200:]}")
    with zipfile.ZipFile(directory / "gse_dev_marker-1-py3-none-any.whl", "w") as wheel:
        info = "gse_dev_marker-1.dist-info"
        wheel.writestr("gse_dev_marker.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gse-dev-marker\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "gse_dev_marker.py,,\n")
    return directory


@pytest.fixture
def checkout(wheels: Path) -> Iterator[Checkout]:
    base = Path(tempfile.mkdtemp(prefix="gse test ", dir="/var/tmp"))  # a space, and readable by other users
    base.chmod(0o755)
    made = Checkout(root=base / "checkout", bin=base / "bin", wheels=base / "wheels")
    shutil.copytree(wheels, made.wheels)
    (made.root / "testbed" / "cli").mkdir(parents=True)
    for package in ("testbed", "testbed/cli"):
        (made.root / package / "__init__.py").write_text("")
    (made.root / "testbed" / "cli" / "main.py").write_text(MAIN)
    shutil.copy(PROJECT / "gse", made.root / "gse")
    made.write()
    (made.bin / "installed").mkdir(parents=True)
    wanted = next(line for line in (PROJECT / "gse").read_text().splitlines() if line.startswith("PACKAGES="))
    for package in wanted.split('"')[1].split():
        (made.bin / "installed" / package).touch()
    here = f"'{made.bin}'"
    script(made.bin / "dpkg-query", f'for last; do :; done\n[ -e {here}/installed/"$last" ] && echo installed\n')
    script(
        made.bin / "apt-get",
        f'echo "$*" >>{here}/apt.log\n[ ! -e {here}/apt-fails ] || {{ echo "E: no network"; exit 100; }}\n'
        f'case "$*" in *install*) for name; do : >{here}/installed/"$name"; done ;; esac\n',
    )
    made.env = {
        "PATH": f"{made.bin}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(base),
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": made.wheels.as_uri(),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_COMPILE": "no",  # which is how pip wants to be told not to: nothing here is about speed
    }
    yield made
    shutil.rmtree(base)


def test_a_checkout_is_set_up_once_and_later_for_what_has_changed_only(checkout: Checkout, tmp_path: Path) -> None:
    """One checkout goes through it all, as a user's does: making a virtual environment takes longest of everything."""
    status, out, err = checkout.run("run", "a b", "--set", "x=1", cwd=tmp_path)
    assert status == STATUS_OF_PROGRAM, err
    assert '"argv": ["run", "a b", "--set", "x=1"]' in out
    assert f'"cwd": "{tmp_path}"' in out
    assert "gse: making" in err
    assert checkout.apt_calls() == []
    started_s = time.monotonic()
    status, out, err = checkout.run("list")
    assert (status, err) == (STATUS_OF_PROGRAM, "")
    assert time.monotonic() - started_s < 1

    # called through a symbolic link, it finds the project
    (tmp_path / "gse").symlink_to(checkout.root / "gse")
    done = subprocess.run([str(tmp_path / "gse"), "x"], env=checkout.env, capture_output=True, text=True, check=False)
    assert done.returncode == STATUS_OF_PROGRAM, done.stderr
    assert "making" not in done.stderr

    # development tools come with test or on request only
    assert '"dev": false' in checkout.run("list")[1]
    status, out, _ = checkout.run("setup", "--dev")
    assert (status, out) == (0, "")
    status, out, err = checkout.run("test")
    assert (status, err) == (STATUS_OF_PROGRAM, "")
    assert '"dev": true' in out

    # changed pins are installed in place
    assert '"version": "1"' in out
    checkout.write(version="2")
    status, out, err = checkout.run("list")
    assert status == STATUS_OF_PROGRAM, err
    assert '"version": "2"' in out
    assert "making" not in err

    # a checkout that was moved gets a new environment
    moved = checkout.root.with_name("moved here")
    checkout.root.rename(moved)
    checkout.root = moved
    status, _, err = checkout.run("list")
    assert status == STATUS_OF_PROGRAM, err
    assert "gse: making" in err


def test_python_that_comes_with_the_packages_is_not_set_up_for_twice(checkout: Checkout) -> None:
    """On a bare machine /usr/bin/python3 is not there before apt-get, and resolves to another name after."""
    python = checkout.bin / "python3"
    text = (checkout.root / "gse").read_text()
    (checkout.root / "gse").write_text(text.replace("PYTHON=/usr/bin/python3", f"PYTHON='{python}'"))
    checkout.forget_package("python3-venv")
    apt = checkout.bin / "apt-get"
    apt.write_text(apt.read_text() + f"ln -sf '{Path('/usr/bin/python3').resolve()}' '{python}'\n")
    assert checkout.run("list")[0] == STATUS_OF_PROGRAM
    status, _out, err = checkout.run("list")
    assert (status, err) == (STATUS_OF_PROGRAM, "")


def test_simultaneous_first_calls_set_up_once(checkout: Checkout) -> None:
    processes = [checkout.start("list") for _ in range(4)]
    outcomes = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [STATUS_OF_PROGRAM] * 4, outcomes
    assert sum("gse: making" in err for _, err in outcomes) == 1


@pytest.mark.parametrize("moment", ["gse-unfinished", "lib/python3*/site-packages/wheel"])
def test_set_up_killed_at_any_moment_is_redone(checkout: Checkout, moment: str) -> None:
    process = checkout.start("list")
    deadline_s = time.monotonic() + 60
    while not list((checkout.root / ".venv").glob(moment)):
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    status, out, err = checkout.run("list")
    assert status == STATUS_OF_PROGRAM, err
    assert '"argv": ["list"]' in out
    assert "gse: making" in err
    assert not (checkout.root / ".venv" / "gse-unfinished").exists()


def test_failing_pip_says_where_the_output_is_and_the_next_call_tries_again(checkout: Checkout) -> None:
    checkout.write(requires=("no-such-package==9",))
    status, _, err = checkout.run("list")
    assert status == 1
    assert f"the whole output is in {checkout.root}/.setup.log" in err
    assert "no-such-package" in err
    checkout.write()
    assert checkout.run("list")[0] == STATUS_OF_PROGRAM


@pytest.mark.root
def test_failing_apt_leaves_nothing_half_made_and_then_only_missing_packages_are_installed(checkout: Checkout) -> None:
    checkout.forget_package("iperf3")
    checkout.forget_package("mininet")
    (checkout.bin / "apt-fails").touch()
    status, _, err = checkout.run("list")
    assert status == 1
    assert "E: no network" in err
    assert "apt-get update failed" in err
    assert not (checkout.root / ".venv").exists()
    (checkout.bin / "apt-fails").unlink()
    status, _, err = checkout.run("list")
    assert status == STATUS_OF_PROGRAM, err
    install = [call for call in checkout.apt_calls() if " install " in call]
    assert len(install) == 1
    assert install[0].endswith("--no-install-recommends mininet iperf3")


@pytest.mark.root
def test_apt_that_installs_nothing_is_noticed(checkout: Checkout) -> None:
    checkout.forget_package("iperf3")
    script(checkout.bin / "apt-get", "exit 0\n")
    status, _, err = checkout.run("list")
    assert (status, "still missing: iperf3" in err) == (1, True)


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.mark.root
def test_unprivileged_user_is_told_what_is_needed(checkout: Checkout) -> None:
    status, out, err = checkout.run("list", prefix=NOBODY)
    assert (status, out) == (2, "")
    assert "got uid 65534" in err
    assert f"sudo {checkout.root}/gse setup\n" in err
    status, _, err = checkout.run("test", "--unit", prefix=NOBODY)
    assert status == 2
    assert f"sudo {checkout.root}/gse setup --dev" in err


@pytest.mark.root
def test_unprivileged_user_with_own_checkout_is_told_which_packages_are_missing(checkout: Checkout) -> None:
    checkout.forget_package("tcpdump")
    shutil.chown(checkout.root, 65534, 65534)
    status, _, err = checkout.run("list", prefix=NOBODY)
    assert status == 2
    assert "packages missing: tcpdump" in err
    assert checkout.apt_calls() == []


@pytest.mark.root
def test_what_root_sets_up_others_may_run_and_it_belongs_to_the_owner_of_the_checkout(checkout: Checkout) -> None:
    assert checkout.run("setup")[0] == 0
    status, _, err = checkout.run("list", prefix=NOBODY)
    assert (status, err) == (STATUS_OF_PROGRAM, "")
    shutil.chown(checkout.root, 65534, 65534)
    assert checkout.run("setup", "--dev")[0] == 0
    assert {path.lstat().st_uid for path in (checkout.root / ".venv").rglob("*")} == {65534}
    assert (checkout.root / ".setup.log").stat().st_uid == 65534


def test_system_without_apt_is_told_what_is_expected(checkout: Checkout) -> None:
    (checkout.bin / "apt-get").unlink()
    (checkout.bin / "dpkg-query").unlink()
    for name in ("readlink", "dirname", "cat", "cksum", "id", "flock", "uname"):
        (checkout.bin / name).symlink_to(str(shutil.which(name)))
    checkout.env["PATH"] = str(checkout.bin)
    status, _, err = checkout.run("list")
    assert status == 2
    assert "got Linux, expected Debian 12, Ubuntu 22.04 or 24.04" in err


def test_script_is_posix_shell() -> None:
    subprocess.run(["sh", "-n", str(PROJECT / "gse")], check=True)
    assert (PROJECT / "gse").read_text().startswith("#!/bin/sh\n")
    assert os.access(PROJECT / "gse", os.X_OK)
