"""Send a real packet from one host to another with scapy and see which links carry it.

Nothing is asked of the controller: the frame itself is caught on the interfaces it crosses, in a GSE frame or bare.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import NetworkError
from testbed.model.attachment import Attachment, ip_intf
from testbed.model.ranks import TCP, Flow
from testbed.model.topology import Topology
from testbed.system import packetfilter
from testbed.system.namespaces import network_namespace_of

ANSWER_WITHIN_S = 2.0
IFF_UP = 0x1


@dataclass(frozen=True)
class ProbeResult:
    """The interfaces on which the probe was seen, in the order it crossed them, with times in seconds."""

    flow: Flow
    seen: tuple[tuple[str, float], ...]
    path: str | None
    delivered: bool


def probe_path(
    topology: Topology, host_pids: dict[str, int], flow: Flow, attachment: Attachment = "none"
) -> ProbeResult:
    """Send one packet with the flow's 5-tuple and return where it went.

    A TCP probe is a bare ACK, which the receiver answers with a reset that nobody waits for; GSOS takes
    it for no new flow. Must run in the switches' namespace. Raises NetworkError when nothing was sent.
    """
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it complains about missing routes
    from scapy.all import IP, AsyncSniffer, Ether, Raw, conf  # fmt: skip
    from scapy.all import TCP as ScapyTCP
    from scapy.all import UDP as ScapyUDP

    from testbed.capture import layers

    layers.load()  # under schemes with agents the probe crosses the fabric inside GSE frames

    source, target = topology.host_by_ip(flow.src_ip), topology.host_by_ip(flow.dst_ip)
    if source is None or target is None:
        raise NetworkError(f"probe from {flow.src_ip} to {flow.dst_ip}: expected addresses of two hosts of the fabric")
    mark = b"gse-probe-" + secrets.token_hex(8).encode()
    transport = (
        ScapyTCP(sport=flow.src_port, dport=flow.dst_port, flags="A")
        if flow.proto == TCP
        else ScapyUDP(sport=flow.src_port, dport=flow.dst_port)
    )
    frame = Ether(src=source.mac, dst=target.mac) / IP(src=flow.src_ip, dst=flow.dst_ip) / transport / Raw(mark)

    candidates = _candidate_interfaces(topology, source.leaf, target.leaf, target.port)
    candidates = [intf for intf in candidates if _is_up(intf)]  # scapy cannot listen on the others
    last = candidates[-1]
    sent = []

    def listening() -> None:
        _send(frame, host_pids[source.name], ip_intf(source, attachment), conf)
        sent.append(True)

    with ExitStack() as opened:
        sockets = {opened.enter_context(closing(conf.L2listen(iface=intf))): intf for intf in candidates}
        for sock in sockets:
            # hundreds of hellos a second would keep the probe waiting on the uplinks after it was seen at its host
            packetfilter.attach(sock.ins, packetfilter.all_but(layers.ETH_CONTROL))
            packetfilter.drain(sock.ins)
        sniffer = AsyncSniffer(
            opened_socket=sockets,
            store=True,
            # the source address tells the probe from an error message that quotes it
            lfilter=lambda p: IP in p and p[IP].src == flow.src_ip and Raw in p and bytes(p[Raw].load).startswith(mark),
            stop_filter=lambda packet: packet.sniffed_on == last,
            started_callback=listening,
        )
        sniffer.start()
        sniffer.join(timeout=ANSWER_WITHIN_S)
        if sniffer.running:  # the probe did not arrive
            sniffer.stop()
    if not sent:
        raise NetworkError("the probe was not sent: scapy could not listen on the fabric's interfaces")
    packets = sorted(sniffer.results or [], key=lambda packet: float(packet.time))
    first_s = float(packets[0].time) if packets else 0.0
    seen: dict[str, float] = {}
    for packet in packets:
        seen.setdefault(str(packet.sniffed_on), float(packet.time) - first_s)
    return ProbeResult(flow, tuple(seen.items()), _path_name(topology, list(seen), source.leaf), last in seen)


def _candidate_interfaces(topology: Topology, src_leaf: int, dst_leaf: int, dst_port: int) -> list[str]:
    """Return the switch interfaces a probe may leave by: uplinks, downlinks, then the one to the target host."""
    host_port = f"{topology.leaves[dst_leaf].name}-eth{dst_port}"
    if src_leaf == dst_leaf:
        return [host_port]
    uplinks = [
        f"{topology.leaves[src_leaf].name}-eth{topology.uplink_port(path)}" for path in range(topology.fabric.paths)
    ]
    downlinks = [
        f"{spine.name}-eth{topology.downlink_port(dst_leaf, link)}"
        for spine in topology.spines
        for link in range(topology.fabric.links_per_pair)
    ]
    return [*uplinks, *downlinks, host_port]


def _is_up(intf: str) -> bool:
    return bool(int(Path("/sys/class/net", intf, "flags").read_text(), 16) & IFF_UP)


def _send(frame: object, pid: int, intf: str, conf: object) -> None:
    with network_namespace_of(pid):
        sock = conf.L2socket(iface=intf)  # type: ignore[attr-defined]
    try:
        sock.send(frame)
    finally:
        sock.close()


def _path_name(topology: Topology, seen: list[str], src_leaf: int) -> str | None:
    prefix = f"{topology.leaves[src_leaf].name}-eth"
    ports = [int(intf.removeprefix(prefix)) for intf in seen if intf.startswith(prefix)]
    paths = [port - topology.uplink_port(0) for port in ports if port >= topology.uplink_port(0)]
    return topology.path_name(paths[0]) if paths else None
