"""A fabric in which everything happens that can, recorded, for tests of journals and replays."""

from __future__ import annotations

import io
from random import Random
from typing import Any

from testbed.gse.dataplane.edge import Edge
from testbed.gse.dataplane.profile import Profile
from testbed.journal import format as journal
from testbed.journal.reader import Journal
from tests.unit.gse_fabric import Fabric, ipv4_frame

L1, L2 = 0x100, 0x200
PROFILE: dict[str, Any] = {
    "retransmit": True,
    "gap_s": 0.15,
    "loss_report_s": 0.03,
    "mark_s": 0.05,
    "container_bytes": 4000,
    "quantum_bytes": 4000,
    "window_bytes": 16_000,
    "port_window_bytes": 20_000,
    "spread_slack_bytes": 2000,  # so that chance has a say
}


def unruly(_frame: bytes, rng: Random) -> list[float]:
    """Lose a frame, double it, hold it up, or let it pass."""
    dice = rng.random()
    if dice < 0.03:
        return []
    return [0.0, 0.004] if dice < 0.05 else [0.02 if dice < 0.1 else 0.0]


def eventful_fabric(*, e2e: bool = False, **profile: Any) -> Fabric:
    """Return a fabric after a second of losses, dead paths, carriers that come and go and a GSP that starts again."""
    fabric = Fabric(
        Profile(**{**PROFILE, **profile}),
        leaves=3,
        hosts=2,
        paths=3,
        fate=unruly,
        e2e=e2e,
        watches_paths=True,
        recorded=True,
    )
    hosts = [(leaf, port) for leaf in (1, 2, 3) for port in (1, 2)]
    dice = Random(7)
    for number in range(200):
        src, dst = dice.sample(hosts, 2)
        frame = ipv4_frame(
            src,
            dst,
            dice.choice((66, 1514, 1514)),
            tos=dice.choice((0, 2, 160)),
            src_port=1000 + number % 5,
            number=number,
        )
        fabric.send_frame(0.004 * number, src, frame)
    fabric.send_frame(0.3, (1, 1), b"too short")

    def uplink(path: int, up: bool) -> None:
        def act(edge: Edge) -> None:
            edge.carrier(path, up=up, now_s=fabric.now_s)

        fabric.turn(L1, act)

    fabric.at(100.2, lambda: uplink(1, False))
    fabric.at(100.4, lambda: uplink(1, True))
    fabric.at(100.25, lambda: fabric.dead.add((2, 2)))
    fabric.at(100.5, fabric.dead.clear)
    if not e2e:
        fabric.at(100.6, lambda: fabric.start(L2, epoch=2))
    fabric.run(1.2)
    return fabric


def journal_of(fabric: Fabric, gsp: int) -> bytes:
    """Return the journal of a GSP's first life."""
    return next(bytes(data) for owner, data in fabric.journals if owner == gsp)


def opened(data: bytes) -> Journal:
    return Journal(io.BytesIO(data), "some.journal")


def events_of(data: bytes) -> list[journal.Event]:
    return list(opened(data).events())
