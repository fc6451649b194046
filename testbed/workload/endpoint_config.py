"""What a rank is told when it starts: who it is, and with whom it exchanges what. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from testbed.errors import WorkloadError

if TYPE_CHECKING:  # a rank starts without pydantic
    from testbed.model.scenario import WorkloadKind


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
    """Who this rank is, and with whom it exchanges what. ``members`` are the ranks of its job, itself included."""

    rank: int
    kind: WorkloadKind
    members: tuple[int, ...]
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
        return replace(config, members=tuple(config.members), receivers=receivers, senders=senders)
