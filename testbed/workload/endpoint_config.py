"""What a rank is told: when it starts, who it is and whom it is connected to; then, what an iteration is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from testbed.collectives.collective import Collective
from testbed.errors import WorkloadError
from testbed.training.tasks import Tasks


@dataclass(frozen=True)
class Receiver:
    """A rank to send to: where it listens, and the source port of each connection to it."""

    rank: int
    ip: str
    port: int
    source_ports: tuple[int, ...]


@dataclass(frozen=True)
class Sender:
    """A rank to receive from, over ``flows`` connections it makes."""

    rank: int
    flows: int


@dataclass(frozen=True)
class Config:
    """Who this rank is, and whom it is connected to."""

    rank: int
    host: str
    bind_ip: str
    listen_port: int
    receivers: tuple[Receiver, ...]
    senders: tuple[Sender, ...]
    t0_s: float  # monotonic; times in events count from it
    wake_bytes: int | None = None  # resolution of max_gap_s; None: one slice

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Config:
        """Read the first line. Raises WorkloadError naming a field that is missing or unknown."""
        try:
            config = cls(**fields)
            receivers = tuple(
                Receiver(**{**receiver, "source_ports": tuple(receiver["source_ports"])})
                for receiver in fields["receivers"]
            )
            senders = tuple(Sender(**sender) for sender in fields["senders"])
        except (TypeError, KeyError) as error:
            said = str(error).replace(".__init__()", ":").removeprefix("Config: ")
            raise WorkloadError(f"endpoint configuration: {said}") from None
        return replace(config, receivers=receivers, senders=senders)


@dataclass(frozen=True)
class Work:
    """What an iteration is: what the ranks ``members`` of this rank's job, itself included, do together.

    ``collective`` None: this rank has a message of ``size_bytes`` for everyone it is connected to, and gets one from
    everyone connected to it. ``tasks``: what it does in place of all that in a training iteration.
    """

    iteration: int
    size_bytes: int
    slice_bytes: int
    members: tuple[int, ...] = ()
    collective: Collective | None = None
    tasks: Tasks | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Work:
        """Read a ``prepare`` command. Raises WorkloadError naming a field that is missing or unknown."""
        try:
            work = cls(**{name: value for name, value in fields.items() if name != "command"})
            collective = None if work.collective is None else Collective(**fields["collective"])
            tasks = None if work.tasks is None else Tasks.from_json(fields["tasks"])
        except (TypeError, ValueError) as error:
            raise WorkloadError(f"prepare: {str(error).replace('.__init__()', ':')}") from None
        return replace(work, members=tuple(work.members), collective=collective, tasks=tasks)
