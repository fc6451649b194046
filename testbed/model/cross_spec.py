"""Traffic that crosses the workload's, as asked for: Poisson flows, bursts to storage, a replayed capture. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from testbed.fields import Count, Mistakes, SizeBytes, Spec
from testbed.model.flow_sizes import MAX_POINTS, TABLES, Points, mean_bytes, mistakes_in
from testbed.units import GIB, KIB, MIB

HostChoice = Literal["all", "ranks", "others"]
HostName = Annotated[str, Field(pattern=r"^h[1-9][0-9]*$")]
MAX_NAMED_HOSTS: Final = 4096
MOST_SAID: Final = 5  # mistakes of a table that are said


class PoissonSpec(Spec):
    """Flows that begin at random times between random hosts; each is a TCP connection of its own."""

    load: float = Field(gt=0, le=0.95, description="frames sent, as a fraction of the host links' rate, on average")
    sizes: Literal["web_search", "data_mining"] | tuple[tuple[float, float], ...] = Field(
        "web_search",
        description="distribution of flow sizes: a published one, or points [bytes, share of flows no larger]",
    )
    sizes_file: str | None = Field(
        None, description="a file with such points, one a line; taken into `sizes` when the scenario is loaded"
    )
    size_scale: float = Field(1.0, gt=0, le=1000, description="all sizes times this; links here are slow")
    hosts: HostChoice = Field("all", description="who sends and receives: every host, those with ranks, or the others")
    partners: Literal["other_leaf", "any"] = Field("any", description="where a flow's receiver may be")

    @property
    def points(self) -> Points:
        """The distribution of sizes, before scaling. Raises ValueError where its file has not been taken in."""
        if self.sizes_file is not None:
            raise ValueError(f"sizes_file={self.sizes_file} has not been read; a sweep cannot vary it")
        return TABLES[self.sizes] if isinstance(self.sizes, str) else self.sizes

    @property
    def mean_bytes(self) -> float:
        """Mean size of a flow."""
        return mean_bytes(self.points, self.size_scale)

    @property
    def sizes_name(self) -> str:
        """What the distribution is called, its scale included."""
        name = self.sizes.replace("_", " ") if isinstance(self.sizes, str) else "own"
        return f"{name} sizes" + ("" if self.size_scale == 1 else f" x {self.size_scale:g}")

    @model_validator(mode="after")
    def _is_a_distribution(self) -> PoissonSpec:
        if isinstance(self.sizes, str):
            return self
        if len(self.sizes) > MAX_POINTS:
            raise Mistakes([f"sizes has {len(self.sizes)} points; expected at most {MAX_POINTS}"])
        found = [f"sizes.{index}: {got}; expected {expected}" for index, got, expected in mistakes_in(self.sizes)]
        if found:
            raise Mistakes(found[:MOST_SAID])
        return self


class BurstSpec(Spec):
    """Hosts that all write to storage hosts at once, again and again, as a checkpoint does."""

    period_s: float = Field(5.0, gt=0, le=3600, description="from one burst's beginning to the next's")
    first_s: float = Field(0.5, ge=0, le=3600, description="when the first begins, after the measured part does")
    size_bytes: SizeBytes = Field(MIB, ge=1, le=GIB, description="what each sender writes in a burst")
    senders: HostChoice | tuple[HostName, ...] = Field("ranks", description="who writes; storage hosts do not")
    storage: tuple[HostName, ...] = Field(
        min_length=1, max_length=MAX_NAMED_HOSTS, description="hosts that are written to"
    )
    stripe: bool = Field(True, description="a sender's bytes go to all storage hosts alike; false: to one, in turn")


class ReplaySpec(Spec):
    """Frames of a capture, sent by the hosts they are mapped to at the times they were recorded."""

    file: str = Field(min_length=1, max_length=4096, description="a pcap or pcapng file")
    time_scale: float = Field(1.0, gt=0, le=1e6, description="times between frames x this; 10: ten times slower")
    map: dict[str, HostName] = Field(
        default_factory=dict,
        description="IPv4 address -> host; none: each address the next host, in order of appearance, while there are",
    )
    first_s: float = Field(
        0.5, ge=0, le=3600, description="when the first frame is sent, after the measured part began"
    )
    most_frames: Count = Field(200_000, ge=1, le=2_000_000, description="frames of the file that are looked at")


class CrossTrafficSpec(Spec):
    """Traffic that crosses the workload's while it is measured. Nobody tells GSOS of it."""

    poisson: PoissonSpec | None = None
    bursts: BurstSpec | None = None
    replay: ReplaySpec | None = None

    @property
    def has_flows(self) -> bool:
        """Whether flows are sent: Poisson ones or bursts."""
        return self.poisson is not None or self.bursts is not None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.has_flows or self.replay is not None


SIZE_BINS_BYTES: Final = (10 * KIB, 100 * KIB, MIB)  # borders of the bins flow completion times are told by


def cross_mistakes(
    cross: CrossTrafficSpec, hosts: int, leaves: int, ranks: int, *, leaf_by_leaf: bool = False
) -> Iterator[str]:
    """Yield why this traffic cannot be sent on a fabric of so many hosts and leaves, beside so many ranks.

    ``leaf_by_leaf``: ranks fill a leaf before the next.
    """
    if cross.poisson is not None:
        yield from _poisson_mistakes(cross.poisson, hosts, leaves, ranks, leaf_by_leaf)
    if cross.bursts is not None:
        yield from _burst_mistakes(cross.bursts, hosts, ranks)
    for where, name in _named(cross):
        if int(name[1:]) > hosts:
            yield f"cross_traffic.{where}={name}; expected a host h1..h{hosts}"


def _poisson_mistakes(poisson: PoissonSpec, hosts: int, leaves: int, ranks: int, leaf_by_leaf: bool) -> Iterator[str]:
    number = max({"all": hosts, "ranks": ranks, "others": hosts - ranks}[poisson.hosts], 0)
    if number < 2:
        yield (
            f"cross_traffic.poisson.hosts={poisson.hosts} are {number} of {hosts} hosts with {ranks} ranks; "
            "expected two or more"
        )
    if poisson.partners == "other_leaf" and leaves < 2:
        yield "cross_traffic.poisson.partners=other_leaf; expected fabric.leaves >= 2, or any"
    elif poisson.partners == "other_leaf" and leaf_by_leaf and number >= 2:
        per_leaf = hosts // leaves
        with_ranks, full = -(-ranks // per_leaf), ranks // per_leaf
        if {"all": leaves, "ranks": with_ranks, "others": leaves - full}[poisson.hosts] < 2:
            yield (
                f"cross_traffic.poisson.partners=other_leaf, but the {number} {poisson.hosts} are all on one leaf; "
                "expected any, or another workload.placement"
            )


def _burst_mistakes(bursts: BurstSpec, hosts: int, ranks: int) -> Iterator[str]:
    if len(set(bursts.storage)) < len(bursts.storage):
        yield "cross_traffic.bursts.storage names a host twice; expected each once"
    if bursts.senders == "others" and hosts <= ranks:
        yield "cross_traffic.bursts.senders=others, but every host has a rank; expected fewer workload.ranks"
    elif bursts.senders == "all" and len(set(bursts.storage)) >= hosts:
        yield "cross_traffic.bursts.storage is every host; expected somebody who writes"
    elif not isinstance(bursts.senders, str) and not set(bursts.senders) - set(bursts.storage):
        yield "cross_traffic.bursts.senders are all in storage; expected somebody who writes"


def _named(cross: CrossTrafficSpec) -> Iterator[tuple[str, str]]:
    """Yield every host that is named, and where."""
    if cross.bursts is not None:
        yield from ((f"bursts.storage.{index}", name) for index, name in enumerate(cross.bursts.storage))
        if not isinstance(cross.bursts.senders, str):
            yield from ((f"bursts.senders.{index}", name) for index, name in enumerate(cross.bursts.senders))
    if cross.replay is not None:
        yield from ((f"replay.map.{address}", name) for address, name in cross.replay.map.items())
