"""What one capsule has to do, and what follows from it: ranks, flows, sizes, patience. No I/O but of the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from testbed.collectives.slices import default_slice_bytes
from testbed.fabric.agents import AgentProcess, agent_processes
from testbed.gse.dataplane.profile import Profile
from testbed.measurement.probes import linger_s
from testbed.model.delay import wake_interval_s
from testbed.model.oracle import Ideal, pattern_ideal
from testbed.model.pattern import Pattern, mice_pairs, seeded_pattern
from testbed.model.ranks import SOURCE_PORTS, Flow, pair_flows, place_ranks
from testbed.model.scenario import Scenario
from testbed.model.schemes import SETTINGS, SchemeSettings, profile_of
from testbed.model.topology import Host, Topology
from testbed.system.machine import Datapath
from testbed.workload.stall import Patience

# An iteration slower than this fraction of the physical limit is no measurement any more but a failure.
SLOWEST_EFFICIENCY = 0.01
ITERATION_GRACE_S = 30.0
CROSS_LINGER_S = 10.0  # for flows that had begun when the measured part ended; what takes longer is told as missing
PREPARE_FRAME_S = 100e-6  # for reading and rewriting a frame of a capture, however busy the cores are
TRAINING_HANG_S = 3.5  # asked every third of it, a rank that hangs is named within 5 s


@dataclass(frozen=True)
class Plan:
    """What one capsule has to do."""

    scenario: Scenario
    scheme: str
    seed: int
    run_dir: Path
    datapath: Datapath

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read what ``write`` has written."""
        return cls.from_json(json.loads(path.read_text()))

    def write(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Write it for the capsule, with what else its first process is to know. Raises OSError."""
        path.write_text(json.dumps({**self.to_json(), **extra}, indent=1))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Return the plan in a decoded JSON document."""
        return cls(
            scenario=Scenario.model_validate(value["scenario"]),
            scheme=value["scheme"],
            seed=value["seed"],
            run_dir=Path(value["run_dir"]),
            datapath=value["datapath"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document ``from_json`` reads."""
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "scheme": self.scheme,
            "seed": self.seed,
            "run_dir": str(self.run_dir),
            "datapath": self.datapath,
        }

    @cached_property
    def topology(self) -> Topology:
        """The fabric."""
        return Topology(self.scenario.fabric)

    @property
    def wake_interval_s(self) -> float | None:
        """How often switches look at their ports; None: at each frame. The kernel's need no such thing."""
        return wake_interval_s(self.scenario.fabric) if self.datapath == "userspace" else None

    @cached_property
    def rank_hosts(self) -> tuple[Host, ...]:
        """The host of each rank; the same for every scheme of a seed."""
        rng = Random(f"{self.seed}/placement")
        return place_ranks(self.topology, self.scenario.ranks, self.scenario.workload.placement, rng)

    @cached_property
    def pattern(self) -> Pattern:
        """Who sends to whom; the same for every scheme of a seed."""
        return seeded_pattern(self.scenario, self.rank_hosts, self.seed)

    @cached_property
    def flows(self) -> tuple[tuple[Flow, ...], ...]:
        """The TCP flows of each pair of the pattern; the same 5-tuples for every scheme of a seed."""
        work = self.scenario.workload
        return pair_flows(
            self.rank_hosts,
            self.pattern.pairs,
            flows_per_pair=work.flows_per_hop,
            demand_bytes=[size * work.iterations for size in self.pattern.pair_bytes(work.size_bytes)],
            rng=Random(f"{self.seed}/ports"),
        )

    @property
    def announcements(self) -> dict[str, tuple[Flow, ...]]:
        """What each job tells GSOS: job name -> its flows."""
        names = self.scenario.workload.job_names
        flows: dict[str, list[Flow]] = {name: [] for name in names}
        for (src, _dst), own in zip(self.pattern.pairs, self.flows, strict=True):
            flows[names[self.pattern.job_of(src)]] += own
        return {name: tuple(own) for name, own in flows.items()}

    @property
    def mice(self) -> dict[str, Any] | None:
        """What ``testbed.workload.mice`` is told; None where nobody sends small messages."""
        work = self.scenario.workload
        if not work.mice_interval_ms:
            return None
        rng = Random(f"{self.seed}/mice ports")
        pairs = mice_pairs(self.rank_hosts, self.seed)
        return {
            "seed": self.seed,
            "interval_s": work.mice_interval_ms / 1e3,
            "message_bytes": work.mice_bytes,
            "dscp": work.mice_dscp,
            "mice": [[src.name, dst.name, rng.choice(SOURCE_PORTS)] for src, dst in pairs],
            "linger_s": linger_s(self.topology),
        }

    @property
    def senders(self) -> dict[str, dict[str, Any]]:
        """What the programs of ``testbed.workload`` that send beside the ranks are told, by their names."""
        found = {"mice": self.mice, "crossflows": self.cross_flows, "replay": self.replay}
        return {name: told for name, told in found.items() if told is not None}

    @property
    def cross_flows(self) -> dict[str, Any] | None:
        """What ``testbed.workload.crossflows`` is told; None where there are no such flows."""
        if not self.scenario.cross_traffic.has_flows:
            return None
        return {
            "seed": self.seed,
            "scenario": self.scenario.model_dump(mode="json"),
            "ranks": [host.name for host in self.rank_hosts],
            "linger_s": max(linger_s(self.topology), CROSS_LINGER_S),
        }

    @property
    def replay(self) -> dict[str, Any] | None:
        """What ``testbed.workload.replay`` is told; None where no capture is replayed."""
        spec = self.scenario.cross_traffic.replay
        if spec is None:
            return None
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "linger_s": linger_s(self.topology),
            "prepare_s": PREPARE_FRAME_S * spec.most_frames,
        }

    @property
    def settings(self) -> SchemeSettings:
        """What the scheme is."""
        return SETTINGS[self.scheme]

    @cached_property
    def profile(self) -> Profile:
        """The agents' settings."""
        return profile_of(self.scheme, self.scenario.fabric, self.scenario.gsp)

    @cached_property
    def agent_processes(self) -> list[AgentProcess]:
        """The processes of GSP agents the scheme needs."""
        return agent_processes(
            self.topology,
            attachment=self.settings.attachment,
            profile=self.profile,
            passthrough=self.settings.passthrough,
            seed=self.seed,
            journal=self.scenario.gsp.journal,
        )

    def slice_bytes(self, size_bytes: int) -> int | None:
        """Return the pipelining unit for an array of this size; None: each operation of an iteration has its own."""
        chosen = self.scenario.workload.slice_bytes
        if self.pattern.training is not None:
            return chosen
        return default_slice_bytes(self.scenario.job_ranks, size_bytes) if chosen is None else chosen

    def iteration_timeout_s(self, size_bytes: int) -> float:
        """Return how long an iteration may take before the run is given up."""
        ideal_s = self.limit(size_bytes).ideal_s if size_bytes else 0.0
        computed_s = 0.0 if self.pattern.training is None else self.pattern.training.ideal.duration_s
        return ideal_s / SLOWEST_EFFICIENCY + computed_s + ITERATION_GRACE_S

    @property
    def patience(self) -> Patience:
        """How long ranks may be silent: in training, where all wait for one, the one is told within five seconds."""
        return Patience() if self.pattern.training is None else Patience(hang_s=TRAINING_HANG_S)

    def limit(self, size_bytes: int) -> Ideal:
        """Return the physical limit of an iteration of this size."""
        return pattern_ideal(self.topology, self.rank_hosts, self.pattern, size_bytes)

    @property
    def warmup_size_bytes(self) -> int:
        """Array of a warm-up iteration: it opens congestion windows and is not measured."""
        return self.scenario.workload.warmup_bytes
