"""The topology and the controller under Mininet's own ``mn``: the installed one and the virtual environment's.

``mn`` exits with status 0 whatever happened, so only what it prints counts.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.system.capsule import capsule_argv

pytestmark = [pytest.mark.root, pytest.mark.beside]
PROJECT = Path(__file__).resolve().parents[2]
STOCK = Path("/usr/bin/mn")
STOCK_PYTHON = Path("/usr/bin/python3")
OURS = Path(sys.prefix, "bin/mn")
FABRIC = "leafspine,leaves=2,spines=2,hosts_per_leaf=2"
ALL_OF_FOUR = "0% dropped (12/12 received)"

# Mininet tidies up after an error: it kills by name and empties /tmp of *.log and *.out. The capsule confines the
# former; against the latter /tmp is read-only here, and temporary files go to the capsule's own /run.
IN_CAPSULE = f"""
import os, select, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from testbed.system import capsule
from testbed.fabric import ovs
from testbed.system.command import run
capsule.enter()
ovs.start_daemons(Path("/run/gse"))  # before: ovsdb-server wants a temporary file, and in /tmp
run(["mount", "--bind", "/tmp", "/tmp"])
run(["mount", "-o", "remount,bind,ro", "/tmp"])
temporary = Path("/run/tmp")
temporary.mkdir()
environment = {{**os.environ, "TMPDIR": str(temporary), "HOME": "/run"}}
status = subprocess.call(
    sys.argv[2:], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=sys.argv[1], env=environment
)

def gsos():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"\\0apps\\0gsos\\0" in path.read_bytes():
                yield path
        except OSError:  # it has ended meanwhile
            pass

# After an error mn ends without stopping its controllers: the kernel ends them with it, which may take a moment.
for started in list(gsos()):
    try:
        watched = os.pidfd_open(int(started.parent.name))
    except ProcessLookupError:
        continue
    select.select([watched], [], [], 10)
print("GSOS processes left:", len(list(gsos())), "files left:", os.listdir(temporary), flush=True)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose .venv is the environment of these tests, wherever that one is."""
    root = tmp_path_factory.mktemp("checkout")
    for package in ("testbed", "apps"):
        shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".venv").symlink_to(sys.prefix)
    return root


def run_mn(mn: Path, checkout: Path, *arguments: str, cwd: Path = Path("/")) -> str:
    """Run mn from another directory, in a capsule with userspace switches; return everything it printed."""
    argv = [str(mn), "--custom", str(checkout / "testbed/mn.py"), "--arp", "--switch", "ovs,datapath=user", *arguments]
    done = subprocess.run(
        capsule_argv([sys.executable, "-c", IN_CAPSULE, str(cwd), *argv]), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stock_mn() -> Path:
    """Return the installed mn; skip where it cannot load this environment's packages."""
    if not STOCK.exists():
        pytest.skip("no mn installed: apt-get install mininet")
    version = subprocess.check_output([STOCK_PYTHON, "-c", "import platform; print(platform.python_version())"])
    if version.decode().split(".")[:2] != platform.python_version().split(".")[:2]:
        pytest.skip(f"mn runs under Python {version.decode().strip()}, these packages are for {sys.version.split()[0]}")
    return STOCK


# Ours with nothing but ``gsos`` is called from a stranger's folder, below.
@pytest.mark.parametrize(
    ("which", "controller"),
    [("stock", "gsos"), ("stock", "gsos,scheme=gse1,seed=3"), ("ours", "gsos,scheme=gse1,seed=3")],
)
def test_pingall_loses_nothing(which: str, controller: str, checkout: Path) -> None:
    mn = stock_mn() if which == "stock" else OURS
    said = run_mn(mn, checkout, "--topo", FABRIC, "--controller", controller, "--test", "pingall")
    assert ALL_OF_FOUR in said, said
    assert "GSOS processes left: 0 files left: []" in said, said


def test_gsos_is_ours_wherever_mn_is_called(checkout: Path, tmp_path: Path) -> None:
    """Root may be in anybody's folder: a package of GSOS's name there is not for root to execute."""
    stranger = tmp_path / "apps"
    stranger.mkdir()
    (stranger / "__init__.py").touch()
    (stranger / "__main__.py").write_text("raise SystemExit('not ours')\n")
    options = ["--topo", FABRIC, "--controller", "gsos", "--test", "pingall"]
    said = run_mn(OURS, checkout, *options, cwd=tmp_path)
    assert ALL_OF_FOUR in said, said
    assert "GSOS processes left: 0 files left: []" in said, said


def test_ports_of_the_switches_are_those_gsos_expects(checkout: Path, tmp_path: Path) -> None:
    script = tmp_path / "commands"
    script.write_text("links\nsh ovs-vsctl --bare --columns=name,ofport list Interface l2-eth3 s2-eth2\n")
    said = run_mn(OURS, checkout, "--topo", FABRIC, "--controller", "gsos", "--test", "none", "--post", str(script))
    assert re.findall(r"^(?:l2-eth3|s2-eth2)\n\d+$", said, re.MULTILINE) == ["l2-eth3\n3", "s2-eth2\n2"], said
    assert "l2-eth4<->s2-eth2 (OK OK)" in said, said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--topo", FABRIC, "--controller", "gsos,scheme=gse9"],
            "unknown scheme; got gse9, expected one of ecmp, gse1",
        ),
        (["--topo", "single", "--controller", "gsos"], "got another --topo, expected --topo leafspine"),
        (["--topo", FABRIC, "--controller", "gsos", "--controller", "gsos"], "OpenFlow address 127.0.0.1:6653 cannot"),
        (["--topo", "leafspine,spines=0", "--controller", "gsos"], "spines"),
    ],
    ids=["scheme", "topology", "port taken", "fabric"],
)
def test_wrong_request_is_named(arguments: list[str], complaint: str, checkout: Path) -> None:
    said = run_mn(OURS, checkout, *arguments, "--test", "none")
    assert "Caught exception" in said and complaint in said, said
    assert "GSOS processes left: 0 files left: []" in said, said
