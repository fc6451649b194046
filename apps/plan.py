"""What GSOS is told at its start: a JSON file named by ``--plan`` or the environment variable below."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from testbed.errors import Problem, ScenarioError
from testbed.model.scheme_spec import SCHEMES, GsosSpec
from testbed.model.topology import Topology

PLAN_VARIABLE = "GSE_GSOS_PLAN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Fabric, scheme and addresses of one GSOS process."""

    topology: Topology
    scheme: str
    seed: int
    settings: GsosSpec
    openflow_port: int
    openflow_listen: str
    northbound: Path

    @property
    def identity(self) -> str:
        """Return what a state file must agree with to be taken up."""
        fabric = self.topology.fabric.model_dump_json()
        return json.dumps({"fabric": fabric, "scheme": self.scheme, "seed": self.seed}, sort_keys=True)


def read_plan(path: Path) -> Plan:
    """Read a plan file. Raises ScenarioError saying what is wrong with it."""
    where = f"GSOS plan {path}"
    try:
        value = json.loads(path.read_text())
        plan = Plan(
            topology=Topology.from_json(value["topology"]),
            scheme=value["scheme"],
            seed=int(value["seed"]),
            settings=GsosSpec.model_validate(value["gsos"]),
            openflow_port=int(value["openflow_port"]),
            openflow_listen=str(value["openflow_listen"]),
            northbound=Path(value["northbound"]),
        )
    except OSError as error:
        raise ScenarioError(Problem("cannot be read", where, str(error), "a readable JSON file")) from None
    except json.JSONDecodeError as error:
        raise ScenarioError(Problem("is not JSON", where, str(error), "a JSON object")) from None
    except KeyError as error:
        raise ScenarioError(Problem("field missing", where, "nothing", f"a value for {error}")) from None
    except (TypeError, ValueError, ValidationError) as error:
        raise ScenarioError(Problem("has a wrong value", where, str(error), "the fields docs/gsos.md lists")) from None
    if plan.scheme not in SCHEMES:
        raise ScenarioError(Problem("unknown scheme", where, plan.scheme, f"one of {', '.join(SCHEMES)}"))
    return plan
