"""The policy of each scheme name."""

from __future__ import annotations

from testbed.errors import Problem, ScenarioError
from testbed.gse.ecmp import EcmpPolicy
from testbed.gse.gse1 import Gse1Policy
from testbed.gse.gse2 import Gse2Policy
from testbed.gse.policy import Policy
from testbed.model.scheme_spec import SCHEMES, GsosSpec, repair_mistakes
from testbed.model.schemes import SETTINGS
from testbed.model.topology import Topology


def make_policy(scheme: str, topology: Topology, *, seed: int, settings: GsosSpec) -> Policy:
    """Return a new policy of a scheme. Raises ScenarioError for a name no scheme has, or what it cannot honour."""
    for mistake in repair_mistakes(settings.repair, [scheme], topology.fabric):
        got, _, expected = mistake.partition("; expected ")
        raise ScenarioError(Problem("setting cannot be honoured", f"scheme {scheme}", got, expected))
    attachment = SETTINGS[scheme].attachment if scheme in SETTINGS else "none"
    if scheme in ("ecmp", "ecmp-agents"):
        return EcmpPolicy(topology, seed, scheme=scheme, attachment=attachment, repair=settings.repair)
    if scheme == "gse1":
        return Gse1Policy(topology, seed, settings)
    if attachment != "none":
        return Gse2Policy(topology, scheme, attachment)
    raise ScenarioError(Problem("unknown scheme", "scheme", scheme, f"one of {', '.join(SCHEMES)}"))
