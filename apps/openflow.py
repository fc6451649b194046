"""Rules to OpenFlow 1.3 messages and back: the only file that builds or reads them.

``HashLive`` and ``FirstLive`` become Nicira's ``bundle`` action: it takes a hash basis over OpenFlow 1.3 and
skips ports without carrier, with no controller involved (measured in docs/gsos.md). ``HashBucket`` becomes
``multipath``, which looks at no carrier: it writes the bucket's number into a register for the rules of a second table.

Cookies: 16 bits that mark a rule as GSOS's, 8 bits kind, 8 bits zero, 32 bits generation (one per connection).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apps.compat import nicira_ext, ofproto_v1_3, ofproto_v1_3_parser
from testbed.gse.policy import PRIORITY_PINNED, PortCounter
from testbed.gse.rulebook import Identity
from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.rules import Action, FirstLive, HashBucket, HashLive, Match, Output, PacketIn, Rule

HASH_SYMMETRIC_L3L4_UDP = 3  # NX_HASH_FIELDS_SYMMETRIC_L3L4_UDP of Open vSwitch's nicira-ext.h
COOKIE_MARK = 0x6753 << 48
COOKIE_PINNED = 1 << 40
COOKIE_KIND_MASK = 0xFFFF_FF00_0000_0000
EVERY_BIT = 0xFFFF_FFFF_FFFF_FFFF
GENERATIONS = 1 << 32
FIRST_TABLE, BUCKET_TABLE = 0, 1
BUCKET_REGISTER = "reg0"
BUCKET_BITS = nicira_ext.ofs_nbits(0, 15)

_L4_FIELDS = {TCP: ("tcp_src", "tcp_dst"), UDP: ("udp_src", "udp_dst")}


class Switch:
    """One connection to a switch: makes messages for it and sends them in one piece, in order."""

    def __init__(self, datapath: Any) -> None:
        self._datapath = datapath
        self.dpid = int(datapath.id)

    def install(self, wanted: Iterable[Rule], unwanted: Iterable[Identity], generation: int) -> int:
        """Send additions, removals and a barrier; return the barrier's xid."""
        messages = [self._add(rule, generation) for rule in wanted]
        messages += [self._delete_strict(identity) for identity in unwanted]
        return self._send([*messages, self._barrier()])

    def delete_cookies(self, cookies: Iterable[int]) -> int:
        """Send the removal of every rule with one of these cookies, and a barrier; return its xid."""
        parser = self._datapath.ofproto_parser
        deletions = [
            parser.OFPFlowMod(
                self._datapath,
                cookie=cookie,
                cookie_mask=EVERY_BIT,
                table_id=ofproto_v1_3.OFPTT_ALL,
                command=ofproto_v1_3.OFPFC_DELETE,
                out_port=ofproto_v1_3.OFPP_ANY,
                out_group=ofproto_v1_3.OFPG_ANY,
                match=parser.OFPMatch(),
            )
            for cookie in cookies
        ]
        return self._send([*deletions, self._barrier()])

    def request_all_rules(self) -> int:
        """Ask for every rule; return the request's xid."""
        return self._send([self._flow_stats(cookie=0, mask=0)])

    def request_counters(self, *, pinned_rules: bool) -> list[int]:
        """Ask for port counters, and on request those of pinned rules; return the requests' xids."""
        parser = self._datapath.ofproto_parser
        xids = [self._send([parser.OFPPortStatsRequest(self._datapath, 0, ofproto_v1_3.OFPP_ANY)])]
        if pinned_rules:
            xids.append(self._send([self._flow_stats(cookie=COOKIE_MARK | COOKIE_PINNED, mask=COOKIE_KIND_MASK)]))
        return xids

    def close(self) -> None:
        """End the connection; the framework's sender is woken so that it notices."""
        self._datapath.close()
        self._datapath.send(b"", close_socket=True)

    def ports_up(self) -> dict[int, bool]:
        """Return whether each port of the switch has carrier, as it said when it connected."""
        return {int(port.port_no): port_is_up(port) for port in dict(self._datapath.ports).values()}

    def owns(self, datapath: Any) -> bool:
        """Return whether this is the connection of a framework's datapath object."""
        return datapath is self._datapath

    def _send(self, messages: list[Any]) -> int:
        """Send messages as one block and return the xid of the last."""
        block = bytearray()
        for message in messages:
            self._datapath.set_xid(message)
            message.serialize()
            block += message.buf
        self._datapath.send(bytes(block))
        return int(messages[-1].xid)

    def _add(self, rule: Rule, generation: int) -> Any:
        parser = self._datapath.ofproto_parser
        pinned = rule.priority == PRIORITY_PINNED
        actions = [message for action in rule.actions for message in action_messages(action)]
        return parser.OFPFlowMod(
            self._datapath,
            cookie=COOKIE_MARK | (COOKIE_PINNED if pinned else 0) | generation,
            table_id=_table_of(rule.match),
            command=ofproto_v1_3.OFPFC_ADD,
            idle_timeout=rule.idle_timeout_s,
            priority=rule.priority,
            flags=ofproto_v1_3.OFPFF_SEND_FLOW_REM if rule.idle_timeout_s else 0,
            match=match_message(rule.match),
            instructions=[parser.OFPInstructionActions(ofproto_v1_3.OFPIT_APPLY_ACTIONS, actions)] if actions else [],
        )

    def _delete_strict(self, identity: Identity) -> Any:
        priority, match = identity
        return self._datapath.ofproto_parser.OFPFlowMod(
            self._datapath,
            table_id=_table_of(match),
            command=ofproto_v1_3.OFPFC_DELETE_STRICT,
            priority=priority,
            out_port=ofproto_v1_3.OFPP_ANY,
            out_group=ofproto_v1_3.OFPG_ANY,
            match=match_message(match),
        )

    def _flow_stats(self, *, cookie: int, mask: int) -> Any:
        parser = self._datapath.ofproto_parser
        any_port, any_group = ofproto_v1_3.OFPP_ANY, ofproto_v1_3.OFPG_ANY
        return parser.OFPFlowStatsRequest(
            self._datapath, 0, ofproto_v1_3.OFPTT_ALL, any_port, any_group, cookie, mask, parser.OFPMatch()
        )

    def _barrier(self) -> Any:
        return self._datapath.ofproto_parser.OFPBarrierRequest(self._datapath)


def action_messages(action: Action) -> list[Any]:
    """Return the OpenFlow actions for a rule's action."""
    if isinstance(action, Output):
        return [ofproto_v1_3_parser.OFPActionOutput(action.port)]
    if isinstance(action, PacketIn):
        return [ofproto_v1_3_parser.OFPActionOutput(ofproto_v1_3.OFPP_CONTROLLER, action.max_bytes)]
    if isinstance(action, HashLive):
        return [_bundle(nicira_ext.NX_BD_ALG_HRW, action.basis, action.ports)]
    if isinstance(action, FirstLive):
        return [_bundle(nicira_ext.NX_BD_ALG_ACTIVE_BACKUP, 0, action.ports)]
    if isinstance(action, HashBucket):
        return [_multipath(action), ofproto_v1_3_parser.NXActionResubmitTable(table_id=BUCKET_TABLE)]
    raise TypeError(f"no OpenFlow action for {action!r}")


def _multipath(action: HashBucket) -> Any:
    return ofproto_v1_3_parser.NXActionMultipath(
        fields=HASH_SYMMETRIC_L3L4_UDP,
        basis=action.basis,
        algorithm=nicira_ext.NX_MP_ALG_HRW,
        max_link=action.buckets - 1,
        arg=0,
        ofs_nbits=BUCKET_BITS,
        dst=BUCKET_REGISTER,
    )


def _table_of(match: Match) -> int:
    return FIRST_TABLE if match.bucket is None else BUCKET_TABLE


def _bundle(algorithm: int, basis: int, ports: tuple[int, ...]) -> Any:
    return ofproto_v1_3_parser.NXActionBundle(
        algorithm=algorithm,
        fields=HASH_SYMMETRIC_L3L4_UDP,
        basis=basis,
        slave_type=nicira_ext.NXM_OF_IN_PORT,
        n_slaves=len(ports),
        ofs_nbits=0,
        dst=0,
        slaves=list(ports),
    )


def match_message(match: Match) -> Any:
    """Return the OpenFlow match for a rule's match."""
    fields: dict[str, Any] = {} if match.bucket is None else {BUCKET_REGISTER: match.bucket}
    if match.in_port is not None:
        fields["in_port"] = match.in_port
    if match.eth_type is not None:
        fields["eth_type"] = match.eth_type
    if match.eth_dst is not None:
        address, _, mask = match.eth_dst.partition("/")
        fields["eth_dst"] = (address, mask) if mask else address
    if match.ip_src is not None:
        fields["ipv4_src"] = _address(match.ip_src)
    if match.ip_dst is not None:
        fields["ipv4_dst"] = _address(match.ip_dst)
    if match.ip_proto is not None:
        fields["ip_proto"] = match.ip_proto
        src_field, dst_field = _L4_FIELDS.get(match.ip_proto, ("", ""))
        if match.l4_src is not None:
            fields[src_field] = match.l4_src
        if match.l4_dst is not None:
            fields[dst_field] = match.l4_dst
    if match.tcp_flags is not None:
        fields["tcp_flags"] = (match.tcp_flags, match.tcp_flags)  # ONF's: sorted after its prerequisites
    return ofproto_v1_3_parser.OFPMatch(**fields)


def _address(text: str) -> str | tuple[str, str]:
    address, _, bits = text.partition("/")
    if not bits:
        return address
    mask = (0xFFFF_FFFF << (32 - int(bits))) & 0xFFFF_FFFF
    return (address, ".".join(str(mask >> shift & 0xFF) for shift in (24, 16, 8, 0)))


def flow_of_match(match: Any) -> Flow | None:
    """Return the flow an OpenFlow match is for; None unless it names a whole 5-tuple."""
    proto = match.get("ip_proto")
    fields = ("ipv4_src", "ipv4_dst", *_L4_FIELDS.get(proto, ("none", "none")))
    src_ip, dst_ip, src_port, dst_port = (match.get(field) for field in fields)
    if not (isinstance(src_ip, str) and isinstance(dst_ip, str) and src_port is not None and dst_port is not None):
        return None
    return Flow(src_ip, dst_ip, int(proto), int(src_port), int(dst_port))


def port_is_up(port: Any) -> bool:
    """Return whether a port description says the port can carry."""
    down = port.state & ofproto_v1_3.OFPPS_LINK_DOWN or port.config & ofproto_v1_3.OFPPC_PORT_DOWN
    return not down


def port_counters(body: Iterable[Any]) -> dict[int, PortCounter]:
    """Return the counters of a port statistics reply, by port number."""
    return {
        int(stat.port_no): PortCounter(tx_bytes=stat.tx_bytes, age_s=stat.duration_sec + stat.duration_nsec * 1e-9)
        for stat in body
    }


def is_last_part(message: Any) -> bool:
    """Return whether a multipart reply is complete with this message."""
    return not message.flags & ofproto_v1_3.OFPMPF_REPLY_MORE


def is_ours(cookie: int, generation: int) -> bool:
    """Return whether a rule was installed over the connection with this generation."""
    return cookie & ~COOKIE_PINNED == COOKIE_MARK | generation
