"""What the kernel and Open vSwitch say a fabric is, compared with what it was to be.

Reads only. Every tool's own words are kept beside the run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.fabric import offloads
from testbed.fabric.settings import CONGESTION_CONTROL, OPENFLOW_VERSION, SWITCH_SYSCTLS
from testbed.model.shaping import tc_mismatches
from testbed.system.command import run
from testbed.system.namespaces import network_namespace_of

if TYPE_CHECKING:
    from testbed.fabric.network import Network


def differences(network: Network, raw_dir: Path) -> list[str]:
    """Read back every setting, keep the tools' words in ``raw_dir``; return in words what is not as specified."""
    wrong = [*_switch_side(network, raw_dir), *_bridges(network, raw_dir)]
    for host in network.topology.hosts:
        wrong += _host(network, host.name)
    return wrong


def _switch_side(network: Network, raw_dir: Path) -> list[str]:
    text = run(["tc", "-j", "qdisc", "show"]).stdout
    (raw_dir / "tc-qdisc.json").write_text(text)
    by_intf: dict[str, list[dict[str, object]]] = {}
    for qdisc in json.loads(text):
        by_intf.setdefault(str(qdisc["dev"]), []).append(qdisc)
    wrong = []
    for end, setting in network.switch_queues():
        wrong += tc_mismatches(end.intf, setting, by_intf.get(end.intf, []))
    wrong += _wrong_mtus(network.switch_mtus())
    return wrong + offloads.offloads_still_on(network.switch_intfs()) + _wrong_sysctls(SWITCH_SYSCTLS, "switches")


def _host(network: Network, name: str) -> list[str]:
    host = network.topology.host(name)
    with network_namespace_of(network.pid_of(name)):
        return [
            *(
                wrong
                for intf, setting in network.host_queues(host).items()
                for wrong in tc_mismatches(
                    intf, setting, json.loads(run(["tc", "-j", "qdisc", "show", "dev", intf]).stdout)
                )
            ),
            *_wrong_mtus(network.host_mtus(host)),
            *offloads.offloads_still_on(network.host_intfs(host)),
            *_wrong_sysctls(network.host_sysctls, name),
            *_wrong_congestion_control(name),
        ]


def _bridges(network: Network, raw_dir: Path) -> list[str]:
    text = run(["ovs-vsctl", "-f", "json", "--columns=name,ofport,error", "list", "Interface"]).stdout
    (raw_dir / "ovs-interfaces.json").write_text(text)
    ports = {row[0]: (row[1], row[2]) for row in json.loads(text)["data"]}
    wrong = []
    for intf, port in network.bridge_ports().items():
        ofport, error = ports.get(intf, (None, "not in the database"))
        if ofport != port:
            wrong.append(f"{intf}: OpenFlow port is {ofport} ({error}), expected {port}")
    expected = ("netdev",) if network.datapath == "userspace" else ("system", "")
    text = run(["ovs-vsctl", "-f", "json", "--columns=name,datapath_type,fail_mode,protocols", "list", "Bridge"]).stdout
    (raw_dir / "ovs-bridges.json").write_text(text)
    for name, datapath, fail_mode, protocols in json.loads(text)["data"]:
        if datapath not in expected or fail_mode != "secure" or protocols != OPENFLOW_VERSION:
            wrong.append(
                f"{name}: bridge has {datapath}/{fail_mode}/{protocols}, expected {expected}/secure/OpenFlow13"
            )
    return wrong


def _wrong_sysctls(settings: dict[str, str], where: str) -> list[str]:
    wrong = []
    for name, value in settings.items():
        got = Path("/proc/sys", name).read_text().strip()
        if got != value:
            wrong.append(f"{where}: {name.replace('/', '.')} is {got}, expected {value}")
    return wrong


def _wrong_congestion_control(where: str) -> list[str]:
    routes = json.loads(run(["ip", "-j", "-d", "route", "show", "10.0.0.0/8"]).stdout)
    metrics = [metric for route in routes for metric in route.get("metrics", [])]
    got = [metric[key] for metric in metrics for key in ("congestion", "congctl") if key in metric]
    return [] if got == [CONGESTION_CONTROL] else [f"{where}: route has congctl {got}, expected {CONGESTION_CONTROL}"]


def _wrong_mtus(mtus: dict[str, int]) -> list[str]:
    shown = {row["ifname"]: row["mtu"] for row in json.loads(run(["ip", "-j", "link", "show"]).stdout)}
    return [f"{intf}: mtu is {shown.get(intf)}, expected {mtu}" for intf, mtu in mtus.items() if shown.get(intf) != mtu]
