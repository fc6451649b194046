from typing import get_args

import pytest

from testbed.errors import ScenarioError
from testbed.gse.schemes import make_policy
from testbed.model.scenario import SCHEMES, FabricSpec, GsosSpec, SchemeName
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=1))


def test_the_list_of_schemes_is_the_type_of_schemes() -> None:
    assert get_args(SchemeName) == SCHEMES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_a_scenario_may_name_has_a_policy_of_that_name(scheme: str) -> None:
    assert make_policy(scheme, TOPOLOGY, seed=1, settings=GsosSpec()).scheme == scheme


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match="got magic, expected one of ecmp, gse1"):
        make_policy("magic", TOPOLOGY, seed=1, settings=GsosSpec())
