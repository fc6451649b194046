"""Plan and state files, and the command lines that start GSOS."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from apps.plan import read_plan
from apps.ryu_manager import GSOS, manager_arguments
from apps.store import Store
from testbed.errors import ScenarioError
from testbed.model.fabric_spec import FabricSpec
from testbed.model.scenario import GsosSpec
from testbed.model.topology import Topology

PROJECT = Path(__file__).resolve().parents[2]


def plan_value(tmp_path, **changes):
    return {
        "topology": Topology(FabricSpec(leaves=2, spines=2)).to_json(),
        "scheme": "gse1",
        "seed": 3,
        "gsos": GsosSpec().model_dump(mode="json"),
        "openflow_port": 6653,
        "openflow_listen": "127.0.0.1",
        "northbound": str(tmp_path / "gsos.sock"),
        **changes,
    }


def written(tmp_path, value):
    path = tmp_path / "plan.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_plan_is_read(tmp_path):
    plan = read_plan(written(tmp_path, plan_value(tmp_path)))
    assert (plan.scheme, plan.seed, plan.topology.fabric.spines) == ("gse1", 3, 2)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"scheme": "magic"}, "unknown scheme; got magic, expected one of ecmp, gse1"),
        ({"seed": "x"}, "has a wrong value"),
        ({"topology": {}}, "field missing.*'fabric'"),
        ({"topology": {"fabric": {"spines": 0}}}, "has a wrong value"),
        ({"gsos": {"poll_interval_s": -1}}, "has a wrong value"),
        ({"gsos": None}, "has a wrong value"),
    ],
)
def test_wrong_plan_is_refused(tmp_path, changes, what):
    with pytest.raises(ScenarioError, match=what):
        read_plan(written(tmp_path, plan_value(tmp_path, **changes)))


@pytest.mark.parametrize(("text", "what"), [("{", "is not JSON"), ("[]", "has a wrong value"), ("{}", "field missing")])
def test_what_is_no_plan_is_refused(tmp_path, text, what):
    with pytest.raises(ScenarioError, match=what):
        read_plan(written(tmp_path, text))


def test_missing_plan_is_refused(tmp_path):
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_plan(tmp_path / "nowhere.json")


def test_state_survives(tmp_path):
    Store(tmp_path / "state", "plan a").save({"jobs": {"x": 1}})
    assert Store(tmp_path / "state", "plan a").load() == {"jobs": {"x": 1}}


def test_state_is_written_only_when_it_changed(tmp_path):
    store = Store(tmp_path / "state", "plan a")
    store.save({"jobs": {}})
    (tmp_path / "state").unlink()
    store.save({"jobs": {}})
    assert not (tmp_path / "state").exists()
    store.save({"jobs": {"x": 1}})
    assert (tmp_path / "state").exists()


def test_state_of_another_plan_is_not_taken_up(tmp_path):
    Store(tmp_path / "state", "plan a").save({"jobs": {}})
    assert Store(tmp_path / "state", "plan b").load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\x00"])
def test_damaged_state_is_not_taken_up(tmp_path, text):
    (tmp_path / "state").write_text(text)
    assert Store(tmp_path / "state", "plan a").load() is None


def test_state_that_cannot_be_written_costs_nothing_but_a_log_line(tmp_path, caplog):
    Store(tmp_path / "nowhere" / "state", "plan a").save({"jobs": {}})
    assert "state cannot be written" in caplog.text


def test_identity_tells_plans_apart(tmp_path):
    values = [{}, {"scheme": "ecmp"}, {"seed": 4}, {"topology": Topology(FabricSpec(leaves=3)).to_json()}]
    plans = [read_plan(written(tmp_path, plan_value(tmp_path, **value))) for value in values]
    assert len({plan.identity for plan in plans}) == 4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["apps/gsos.py", "--ofp-tcp-listen-port", "1"], [str(GSOS), "--ofp-tcp-listen-port", "1"]),
        ([], [str(GSOS)]),
        (["--verbose"], [str(GSOS), "--verbose"]),
    ],
)
def test_ryu_finds_gsos_from_anywhere(given, expected):
    assert manager_arguments(given) == expected


def start(plan):
    return subprocess.run(
        [sys.executable, "-m", "apps", "gsos", "--plan", str(plan)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        check=False,
    )


def test_bad_plan_ends_the_program_with_status_2(tmp_path):
    done = start(written(tmp_path, plan_value(tmp_path, scheme="magic")))
    assert done.returncode == 2
    assert "unknown scheme; got magic" in done.stderr


def test_taken_port_ends_the_program_with_status_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = start(written(tmp_path, plan_value(tmp_path, openflow_port=taken.getsockname()[1])))
    assert done.returncode == 1
    assert "OpenFlow address 127.0.0.1:" in done.stderr


def test_taken_northbound_socket_ends_the_program_with_status_1(tmp_path):
    (tmp_path / "gsos.sock").write_text("precious")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = start(written(tmp_path, plan_value(tmp_path, openflow_port=port)))
    assert done.returncode == 1
    assert "is not a socket" in done.stderr
