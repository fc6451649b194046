from typing import get_args

import pytest

from testbed.errors import InputError, ScenarioError
from testbed.gse.schemes import make_policy
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import TCP, Flow
from testbed.model.rules import FirstLive, HashBucket, HashLive
from testbed.model.scenario import SCHEMES, GsosSpec, SchemeName
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=1))


def test_the_list_of_schemes_is_the_type_of_schemes() -> None:
    assert get_args(SchemeName) == SCHEMES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_a_scenario_may_name_has_a_policy_of_that_name(scheme: str) -> None:
    assert make_policy(scheme, TOPOLOGY, seed=1, settings=GsosSpec()).scheme == scheme


@pytest.mark.parametrize("scheme", SCHEMES)
def test_repair_by_the_controller_is_honoured_or_refused_but_never_ignored(scheme: str) -> None:
    settings = GsosSpec(repair="controller")
    if scheme in ("ecmp", "gse1", "ecmp-agents"):
        policy = make_policy(scheme, TOPOLOGY, seed=1, settings=settings)
        actions = [action for rule in policy.rules(0x101).values() for action in rule.actions]
        assert not [action for action in actions if isinstance(action, (HashLive, FirstLive))]
        assert any(isinstance(action, HashBucket) for action in actions)
    else:
        with pytest.raises(ScenarioError, match="setting cannot be honoured; got gsos.repair=controller"):
            make_policy(scheme, TOPOLOGY, seed=1, settings=settings)


def test_repair_by_the_controller_is_refused_where_spines_repair() -> None:
    parallel = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=1, links_per_pair=2))
    with pytest.raises(ScenarioError, match="spines choose among parallel links by themselves"):
        make_policy("ecmp", parallel, seed=1, settings=GsosSpec(repair="controller"))


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match="got magic, expected one of ecmp, gse1"):
        make_policy("magic", TOPOLOGY, seed=1, settings=GsosSpec())


FLOW = Flow("10.0.1.1", "10.0.2.1", TCP, 40000, 20001)
STRANGER = Flow("10.0.9.1", "10.0.2.1", TCP, 40000, 20001)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("flows", "said"),
    [
        ([], "announces no flows"),
        ([FLOW, FLOW], "flow announced twice"),
        ([STRANGER], "source is no host of this fabric; got 10.0.9.1"),
    ],
)
def test_a_job_that_cannot_be_is_refused_under_every_scheme(scheme: str, flows: list[Flow], said: str) -> None:
    policy = make_policy(scheme, TOPOLOGY, seed=1, settings=GsosSpec())
    with pytest.raises(InputError, match=said):
        policy.job_announced("job", flows, 0.0)
    assert policy.job_placement("job") == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_an_announced_job_can_be_withdrawn_and_only_once(scheme: str) -> None:
    policy = make_policy(scheme, TOPOLOGY, seed=1, settings=GsosSpec())
    policy.job_announced("job", [FLOW], 0.0)
    with pytest.raises(InputError, match="belongs to another job"):
        policy.job_announced("other", [FLOW], 0.5)
    policy.job_withdrawn("job", 1.0)
    with pytest.raises(InputError, match="unknown job; got job, expected no job is announced"):
        policy.job_withdrawn("job", 2.0)
