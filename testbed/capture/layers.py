"""GSE's headers as scapy layers: any capture of the fabric reads as containers, requests and grants.

``load()`` binds them to their EtherTypes; the field lists are an independent second reading of docs/gse2.md's tables,
which tests compare with ``testbed.gse.dataplane.wire``.
"""

from __future__ import annotations

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FlagsField,
    IntField,
    PacketListField,
    ShortField,
    XShortField,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Padding, bind_layers

ETH_DATA = 0x88B5
ETH_CONTROL = 0x88B6
KINDS = {1: "REQUEST", 2: "GRANT", 3: "CLOSE", 4: "CONG", 5: "FAULT", 6: "HELLO", 7: "LOSS"}


class GseData(Packet):  # type: ignore[misc]
    """The data header; the host's own frame follows."""

    name = "GSE data"
    fields_desc = [
        BitField("version", 1, 4),
        FlagsField("flags", 0, 4, ["first", "rtx", "grant", "r3"]),
        ByteField("tc", 1),
        ShortField("epoch", 0),
        XShortField("src", 0),
        XShortField("dst", 0),
        ByteField("dst_port", 0),
        ByteField("path", 0),
        ShortField("qid", 0),
        IntField("psn", 0),
        IntField("csn", 0),
        ShortField("pidx", 0),
        ShortField("inner_bytes", 0),
        IntField("sent", 0),
        IntField("demand", 0),
        IntField("ts_us", 0),
        ShortField("grant_qid", 0),
        ShortField("grant_epoch", 0),
        IntField("grant", 0),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """The inner frame is Ethernet."""
        return Ether  # type: ignore[no-any-return]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes | None]:
        """What follows the inner frame is padding."""
        size = self.inner_bytes
        return s[:size], s[size:] or None

    def mysummary(self) -> str:
        """One line, as packet lists show it."""
        return self.sprintf(  # type: ignore[no-any-return]
            "GSE data %GseData.src% > %GseData.dst% port %GseData.dst_port% path %GseData.path% "
            "queue %GseData.qid% psn %GseData.psn% container %GseData.csn%.%GseData.pidx%"
        )


class GseGrantEntry(Packet):  # type: ignore[misc]
    """One queue's authorisation in a GRANT."""

    name = "grant"
    fields_desc = [ShortField("qid", 0), ShortField("epoch", 0), IntField("grant", 0)]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Entries follow each other."""
        return b"", s


class GseControl(Packet):  # type: ignore[misc]
    """The head all control frames share; ``qid`` of a GRANT is its number of entries."""

    name = "GSE control"
    fields_desc = [
        BitField("version", 1, 4),
        BitField("reserved", 0, 4),
        ByteEnumField("kind", 1, KINDS),
        ShortField("epoch", 0),
        XShortField("src", 0),
        XShortField("dst", 0),
        ShortField("qid", 0),
        ByteField("dst_port", 0),
        ByteField("tc", 0),
        IntField("seq", 0),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """The body is by ``kind``."""
        return BODIES.get(self.kind, Padding)  # type: ignore[no-any-return]

    def mysummary(self) -> str:
        """One line, as packet lists show it."""
        return self.sprintf("GSE %GseControl.kind% %GseControl.src% > %GseControl.dst%")  # type: ignore[no-any-return]


class _Body(Packet):  # type: ignore[misc]
    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Nothing but padding to the least Ethernet frame follows."""
        return b"", s


class GseRequest(_Body):
    """So much has been asked for and sent."""

    name = "request"
    fields_desc = [IntField(name, 0) for name in ("demand", "sent", "psn", "head_age_us", "granted")]


class GseGrant(_Body):
    """Each queue may have sent so much."""

    name = "grants"
    fields_desc = [
        PacketListField("entries", [], GseGrantEntry, count_from=lambda packet: packet.underlayer.qid),
    ]


class GseClose(_Body):
    """The queue is empty and forgotten."""

    name = "close"
    fields_desc = [IntField("sent", 0), IntField("psn", 0)]


class GseCongestion(_Body):
    """Frames that come by this path wait."""

    name = "congestion"
    fields_desc = [ByteField("path", 0), ByteField("level", 0)]


class GseFault(_Body):
    """A path to a leaf is dead or works again."""

    name = "fault"
    fields_desc = [ByteField("leaf", 0), ByteField("path", 0), ByteEnumField("up", 0, {0: "dead", 1: "works"})]


class GseHello(_Body):
    """To oneself, over a path and back."""

    name = "hello"
    fields_desc = [ByteField("path", 0)]


class GseLoss(_Body):
    """These packets have not come."""

    name = "loss"
    fields_desc = [IntField("psn", 0), ShortField("count", 1), ByteField("final", 0)]


BODIES = {1: GseRequest, 2: GseGrant, 3: GseClose, 4: GseCongestion, 5: GseFault, 6: GseHello, 7: GseLoss}


def load() -> None:
    """Let scapy read GSE frames from now on, wherever it meets their EtherTypes."""
    bind_layers(Ether, GseData, type=ETH_DATA)
    bind_layers(Ether, GseControl, type=ETH_CONTROL)
