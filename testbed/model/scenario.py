"""What to emulate: frozen, validated specifications. No I/O, no machine knowledge.

A scenario is one question: a fabric, a workload, the schemes to compare and what to measure.
A *run* is one scenario, one scheme, one seed. The same fields serve built-in scenarios (Python
modules in ``scenarios/``), users' YAML files, ``--set`` overrides and the published JSON schema.

Whether *this machine* can honour a valid scenario is decided in ``testbed.system.machine``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from testbed.collectives.collective import Collective, most_peers
from testbed.fields import Count, Mistakes, Spec, strict_int
from testbed.gse.dataplane.wire import MAX_PATHS
from testbed.model.cross_spec import BurstSpec as BurstSpec
from testbed.model.cross_spec import CrossTrafficSpec as CrossTrafficSpec
from testbed.model.cross_spec import PoissonSpec as PoissonSpec
from testbed.model.cross_spec import ReplaySpec as ReplaySpec
from testbed.model.cross_spec import cross_mistakes
from testbed.model.fabric_spec import FabricSpec
from testbed.model.fault_spec import FaultSpec, fault_targets
from testbed.model.scheme_spec import DEFAULT_SCHEMES as DEFAULT_SCHEMES
from testbed.model.scheme_spec import SCHEMES as SCHEMES
from testbed.model.scheme_spec import WITHOUT_AGENTS as WITHOUT_AGENTS
from testbed.model.scheme_spec import GsosSpec as GsosSpec
from testbed.model.scheme_spec import GspSpec as GspSpec
from testbed.model.scheme_spec import SchemeName as SchemeName
from testbed.model.scheme_spec import repair_mistakes
from testbed.model.workload_spec import MAX_COLLECTIVE_RANKS as MAX_COLLECTIVE_RANKS
from testbed.model.workload_spec import Placement as Placement
from testbed.model.workload_spec import WorkloadKind as WorkloadKind
from testbed.model.workload_spec import WorkloadSpec as WorkloadSpec
from testbed.training.job import EmulatedJob, emulated_job
from testbed.wire import frame_bytes

MAX_PEER_FLOWS = 400  # connections of a rank in one direction; twice that many open files are within usual limits
NEGLIGIBLE_LOAD = 0.02  # of a host link, small messages beside the bulk: as much as links' rates are off
MAX_SEED = 2**31 - 1
MAX_SEEDS = 10_000  # more runs than anyone waits for
MAX_NAME_CHARACTERS = 41


Seed = Annotated[int, Field(ge=0, le=MAX_SEED), BeforeValidator(strict_int)]


class ElephantSpec(Spec):
    """One background iperf3 transfer, running as long as the measured iterations."""

    src: str = Field(description="host that sends, e.g. h1")
    dst: str = Field(description="host that receives")
    rate_mbps: float | None = Field(None, gt=0, description="offered rate; unset: as fast as TCP goes")
    parallel: Count = Field(1, ge=1, le=64, description="parallel TCP streams")


class MeasureSpec(Spec):
    """What is recorded beside the collective itself."""

    sample_interval_s: float = Field(0.1, ge=0.01, le=60, description="period of link, queue and CPU samples")
    probe_interval_ms: float = Field(50.0, ge=0, le=60_000, description="one probe per host this often; 0: none")
    probe_bytes: Count = Field(64, ge=32, le=1400, description="UDP payload of a probe")
    calibrate: bool = Field(True, description="check every link's rate before measuring")


class Scenario(Spec):
    """One question and everything needed to answer it."""

    name: str = Field(
        pattern=rf"^[a-z][a-z0-9_]{{0,{MAX_NAME_CHARACTERS - 1}}}$", description="names the result folder"
    )
    question: str = Field("", description="what a reader should learn")
    expectation: str = Field("", description="what we expect to see, and why")
    fabric: FabricSpec = FabricSpec()
    workload: WorkloadSpec = WorkloadSpec()
    background: tuple[ElephantSpec, ...] = ()
    cross_traffic: CrossTrafficSpec = CrossTrafficSpec()
    faults: tuple[FaultSpec, ...] = ()
    measure: MeasureSpec = MeasureSpec()
    gsos: GsosSpec = GsosSpec()
    gsp: GspSpec = GspSpec()
    schemes: tuple[SchemeName, ...] = Field(DEFAULT_SCHEMES, min_length=1, description="compared with each other")
    seeds: tuple[Seed, ...] = Field(
        (1, 2, 3), min_length=1, max_length=MAX_SEEDS, description="one run per scheme and seed"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        mistakes = [
            *self._rank_mistakes(),
            *self._host_mistakes(),
            *cross_mistakes(
                self.cross_traffic,
                self.fabric.hosts,
                self.fabric.leaves,
                self.ranks,
                leaf_by_leaf=self.workload.placement == "leaf_local",
            ),
            *self._fault_mistakes(),
            *self._agent_mistakes(),
            *repair_mistakes(self.gsos.repair, self.schemes, self.fabric),
        ]
        for name in ("schemes", "seeds"):
            values = getattr(self, name)
            if twice := [value for value, count in Counter(values).items() if count > 1]:
                mistakes.append(f"{name} names {twice[0]} twice; expected each once")
        if mistakes:
            raise Mistakes(mistakes)
        return self

    @property
    def ranks(self) -> int:
        """Number of ranks: ``workload.ranks`` or one per host."""
        return self.fabric.hosts if self.workload.ranks is None else self.workload.ranks

    @property
    def job_ranks(self) -> int:
        """Number of ranks of each job."""
        return self.ranks // self.workload.jobs

    @property
    def collective(self) -> Collective | None:
        """What the ranks of a job do together; None where every pair is on its own and moves ``size_bytes``."""
        return self.workload.collective_of(self.fabric.hosts_per_leaf)

    @property
    def _is_unread(self) -> bool:
        """Whether its trace has yet to be read."""
        return self.workload.training is not None and self.workload.training.is_unread

    @property
    def job(self) -> EmulatedJob | None:
        """What the ranks do in a training iteration, None for other kinds. Raises ``Mistakes`` where it cannot be."""
        work = self.workload
        if work.training is None:
            return None
        return emulated_job(
            work.training,
            hosts=self.ranks,
            link_mbps=self.fabric.host_link_mbps,
            mtu_bytes=self.fabric.mtu_bytes,
            size_bytes=work.size_bytes,
        )

    @property
    def peers(self) -> int:
        """Most ranks that one rank sends to, or receives from."""
        if (job := self.job) is not None:
            return max(max(Counter(pair[end] for pair in job.pairs).values()) for end in (0, 1))
        if self.workload.kind == "collective" and (collective := self.collective) is not None:
            return most_peers(collective, self.job_ranks)
        return self.job_ranks - 1 if self.workload.kind in ("all_to_all", "incast") else 1

    @property
    def is_disturbed(self) -> bool:
        """Whether traffic other than the workload's bulk takes a share of links that numbers would show."""
        work = self.workload
        load_mbps = work.mice_bytes * 8 / 1e3 / work.mice_interval_ms if work.mice_interval_ms else 0.0
        others = self.background or self.cross_traffic
        return bool(others) or load_mbps > NEGLIGIBLE_LOAD * self.fabric.host_link_mbps

    @property
    def has_other_traffic(self) -> bool:
        """Whether anything but the workload's bulk and the probes is sent, however little."""
        return bool(self.background or self.cross_traffic or self.workload.mice_interval_ms)

    @property
    def _wraps_within_a_leaf(self) -> bool:
        """Whether the last and the first rank of a ring dealt across leaves are on one leaf."""
        whole = self.ranks % self.workload.jobs == 0 and self.job_ranks > 1
        return self.workload.kind == "allreduce_ring" and whole and (self.job_ranks - 1) % self.fabric.leaves == 0

    def _rank_mistakes(self) -> Iterable[str]:
        if self.ranks < 2:
            yield f"the fabric has {self.fabric.hosts} host; expected at least 2 ranks"
        if self.ranks > self.fabric.hosts:
            yield f"workload.ranks={self.ranks}; expected at most one per host ({self.fabric.hosts})"
        yield from self._job_mistakes()
        if self.workload.size_bytes < 4 * self.ranks:
            size_bytes = self.workload.size_bytes
            yield f"workload.size_bytes={size_bytes}; expected at least one float per rank ({4 * self.ranks})"
        impossible = [*self._collective_mistakes(), *self._training_mistakes()]
        yield from impossible
        possible = not impossible and not self._is_unread
        if possible and self.peers * self.workload.flows_per_hop > MAX_PEER_FLOWS:
            yield (
                f"workload.flows_per_hop={self.workload.flows_per_hop} with {self.peers} peers per rank; "
                f"expected at most {MAX_PEER_FLOWS} connections of a rank"
            )
        if self.workload.placement == "cross_leaf":
            if self.fabric.leaves < 2:
                yield "workload.placement=cross_leaf; expected fabric.leaves >= 2"
            elif self._wraps_within_a_leaf:
                of_job = " of a job" if self.workload.jobs > 1 else ""
                yield (
                    f"workload.placement=cross_leaf with ranks={self.job_ranks}{of_job}: the last and the first rank "
                    f"share a leaf; expected a number of ranks other than 1 modulo leaves={self.fabric.leaves}"
                )

    def _collective_mistakes(self) -> Iterable[str]:
        """Yield why the ranks of a job cannot do what they are to do together."""
        if self.workload.kind != "collective":
            return
        if self.job_ranks > MAX_COLLECTIVE_RANKS:
            yield f"workload.kind=collective with {self.job_ranks} ranks; expected at most {MAX_COLLECTIVE_RANKS}"
        elif (collective := self.collective) is not None:
            for problem in collective.problems(self.job_ranks):
                what, _, expected = problem.partition(", expected ")
                yield f"workload.collective: {what}; expected {expected}"

    def _training_mistakes(self) -> Iterable[str]:
        """Yield why the ranks cannot do what is asked of them in a training iteration."""
        training = self.workload.training
        if training is None:
            return
        if self._is_unread:
            return  # its file has yet to be read (``testbed.runs.scenario_files``); then this is asked again
        group_hosts = self.ranks // training.divided.pipeline
        if group_hosts > MAX_COLLECTIVE_RANKS:  # said before all of them are rehearsed
            yield f"workload.training: {group_hosts} hosts a stage; expected at most {MAX_COLLECTIVE_RANKS}"
            return
        try:
            job = self.job
        except Mistakes as error:
            yield from (
                f"workload.training: {one.replace('sent_bytes', 'workload.size_bytes')}" for one in error.mistakes
            )
        else:
            assert job is not None

    def _job_mistakes(self) -> Iterable[str]:
        jobs, ranks = self.workload.jobs, self.ranks
        if jobs > 1 and (ranks % jobs or ranks < 2 * jobs):
            yield f"workload.jobs={jobs} of {ranks} ranks; expected jobs of equally many ranks, two or more"
        elif self.workload.kind == "permutation" and self.workload.partners == "other_leaf":
            cross = self.workload.placement == "cross_leaf"
            on_a_leaf = -(-self.job_ranks // self.fabric.leaves) if cross else self.fabric.hosts_per_leaf
            if min(on_a_leaf, self.job_ranks) > self.job_ranks / 2:
                yield (
                    f"workload.partners=other_leaf with up to {min(on_a_leaf, self.job_ranks)} of {self.job_ranks} "
                    "ranks of a job on one leaf; expected at most half, or workload.partners=any"
                )

    def _host_mistakes(self) -> Iterable[str]:
        names = {f"h{i}" for i in range(1, self.fabric.hosts + 1)}
        for index, elephant in enumerate(self.background):
            for end in ("src", "dst"):
                if getattr(elephant, end) not in names:
                    yield f"background.{index}.{end}={getattr(elephant, end)}; expected a host h1..h{self.fabric.hosts}"
            if elephant.src == elephant.dst:
                yield f"background.{index}: src and dst are both {elephant.src}; expected two hosts"

    def _agent_mistakes(self) -> Iterable[str]:
        with_agents = [scheme for scheme in self.schemes if scheme not in WITHOUT_AGENTS]
        if with_agents and self.fabric.ecn_threshold_bytes is not None:
            yield (
                f"fabric.ecn_threshold_bytes with schemes={', '.join(with_agents)}: switches cannot mark what is "
                "inside a GSE frame; expected it unset, or only schemes without agents"
            )
        frame = frame_bytes(self.fabric.mtu_bytes)
        least = self.gsp.container_bytes or frame
        for name in ("container_bytes", "window_bytes", "port_window_bytes"):
            value, limit = getattr(self.gsp, name), frame if name == "container_bytes" else least
            if value is not None and value < limit:
                holds = "a frame of fabric.mtu_bytes" if limit == frame else "a container"
                yield f"gsp.{name}={value} does not hold {holds}; expected >= {limit}"
        framed = [scheme for scheme in with_agents if scheme != "ecmp-agents"]
        if framed and self.fabric.paths > MAX_PATHS:
            yield (
                f"fabric has {self.fabric.paths} paths between leaves with schemes={', '.join(framed)}; expected at "
                f"most {MAX_PATHS}, which a byte of a frame's address can name"
            )

    def _fault_mistakes(self) -> Iterable[str]:
        targets = fault_targets(self.fabric)
        for index, fault in enumerate(self.faults):
            if fault.target not in targets:
                yield (
                    f"faults.{index}.target={fault.target}; expected a spine s1..s{self.fabric.spines} or a link "
                    f"l1-s1..l{self.fabric.leaves}-s{self.fabric.spines}"
                )
