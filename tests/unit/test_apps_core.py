"""The core with a fake switch: what is sent when, and who waits for what."""

import threading
import time

import pytest

from apps.core import Core
from apps.openflow import COOKIE_MARK
from apps.plan import Plan
from apps.store import Store
from testbed.errors import ControllerError, InputError
from testbed.gse.policy import PRIORITY_PINNED, PortCounter
from testbed.gse.rulebook import flow_match
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.scenario import GsosSpec
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=2))
L1, L2, S1, S2 = 0x101, 0x102, 0x201, 0x202
ALL_UP = dict.fromkeys(range(1, 10), True)
FLOW = Flow("10.0.1.1", "10.0.2.1", TCP, 40000, 20001)


class FakeSwitch:
    """Remembers what it was sent; answers only when told to."""

    xids = iter(range(1, 1_000_000))

    def __init__(self, dpid):
        self.dpid = dpid
        self.table = {}
        self.sent = []
        self.closed = False
        self.on_send = None

    def _log(self, *what):
        xid = next(self.xids)
        self.sent.append((*what, xid))
        if self.on_send:
            self.on_send(xid)
        return xid

    def install(self, wanted, unwanted, generation):
        wanted, unwanted = list(wanted), list(unwanted)
        self.table.update({rule.identity: rule for rule in wanted})
        for identity in unwanted:
            self.table.pop(identity, None)
        return self._log("install", len(wanted), len(unwanted))

    def delete_cookies(self, cookies):
        return self._log("delete", tuple(cookies))

    def request_all_rules(self):
        return self._log("census")

    def request_counters(self, *, pinned_rules):
        return [self._log("ports")] + ([self._log("flows")] if pinned_rules else [])

    def close(self):
        self.closed = True

    def owns(self, datapath):
        return datapath is self

    def xid_of(self, kind):
        return [entry for entry in self.sent if entry[0] == kind][-1][-1]


class MemoryStore(Store):
    def __init__(self, snapshot=None):
        self.snapshot = snapshot

    def load(self):
        return self.snapshot

    def save(self, snapshot):
        self.snapshot = snapshot


def core_of(scheme="gse1", snapshot=None):
    plan = Plan(
        topology=TOPOLOGY,
        scheme=scheme,
        seed=1,
        settings=GsosSpec(),
        openflow_port=1,
        openflow_listen="",
        northbound=None,
    )
    return Core(plan, MemoryStore(snapshot), first_generation=100)


def connect(core, dpid, ports=ALL_UP, *, foreign_cookies=()):
    """Connect a switch and answer everything it is asked."""
    switch = FakeSwitch(dpid)
    core.switch_connected(switch, ports)
    core.barrier_reply(switch, switch.xid_of("install"))
    core.rule_list(switch, switch.xid_of("census"), [(c, None, 0) for c in foreign_cookies], last=True)
    return switch


def connect_all(core):
    return {switch.dpid: connect(core, switch.dpid) for switch in TOPOLOGY.switches}


def confirm_everything(core, switch):
    """Let a switch confirm each barrier as soon as it is sent."""
    switch.on_send = lambda xid: threading.Thread(target=core.barrier_reply, args=(switch, xid)).start()


def test_ready_only_when_every_switch_has_confirmed_and_shown_its_rules():
    core = core_of()
    for switch in TOPOLOGY.switches[:-1]:
        connect(core, switch.dpid)
    last = FakeSwitch(S2)
    core.switch_connected(last, ALL_UP)
    assert core.status()["not_ready"] == ["s2"]
    core.barrier_reply(last, last.xid_of("install"))
    assert not core.status()["ready"]
    core.rule_list(last, last.xid_of("census"), [], last=True)
    assert core.status()["ready"]


def test_rules_of_an_earlier_gsos_are_removed_only_after_ours_are_confirmed_to_be_there():
    core = core_of()
    switch = connect(core, L1, foreign_cookies=[COOKIE_MARK | 55, COOKIE_MARK | 101, 0])
    kinds = [entry[0] for entry in switch.sent]
    assert kinds == ["install", "census", "delete"]
    assert switch.sent[-1][1] == (0, COOKIE_MARK | 55), "101 is this connection's own generation"
    assert "l1" in core.status()["not_ready"]
    core.barrier_reply(switch, switch.xid_of("delete"))
    assert "l1" not in core.status()["not_ready"]


def test_census_in_parts_counts_all_of_them():
    core = core_of()
    switch = FakeSwitch(L1)
    core.switch_connected(switch, ALL_UP)
    core.rule_list(switch, switch.xid_of("census"), [(7, None, 0)], last=False)
    assert [entry[0] for entry in switch.sent] == ["install", "census"]
    core.rule_list(switch, switch.xid_of("census"), [(9, None, 0)], last=True)
    assert switch.sent[-1][:2] == ("delete", (7, 9))


def test_reconnecting_switch_gets_everything_again_and_its_old_connection_is_closed():
    core = core_of()
    first = connect(core, L1)
    second = connect(core, L1)
    assert first.closed
    assert second.table == first.table
    core.switch_gone(first)  # the news of the old connection's end comes late
    assert core.status()["connected"] == ["l1"]
    core.switch_gone(second)
    assert core.status()["connected"] == []


def test_only_differences_are_sent():
    core = core_of()
    switches = connect_all(core)
    before = {dpid: len(switch.sent) for dpid, switch in switches.items()}
    core.first_packet(switches[L1], 1, FLOW)
    assert switches[L1].sent[-1][:3] == ("install", 1, 0)
    assert switches[L2].sent[-1][:3] == ("install", 1, 0), "the way back"
    assert [len(switches[dpid].sent) for dpid in (S1, S2)] == [before[S1], before[S2]]


def test_rule_that_timed_out_is_not_removed_again_and_can_come_back():
    core = core_of()
    switches = connect_all(core)
    core.first_packet(switches[L1], 1, FLOW)
    core.rule_idle(switches[L1], FLOW)
    assert switches[L1].sent[-1][:3] == ("install", 1, 0), "nothing to remove here"
    assert switches[L2].sent[-1][:3] == ("install", 0, 1), "but there: the way back"
    core.first_packet(switches[L1], 1, FLOW)
    assert (PRIORITY_PINNED, flow_match(FLOW)) in switches[L1].table


def test_ports_a_switch_does_not_have_are_down():
    core = core_of("ecmp")
    connect(core, L1, {1: True, 2: True, 3: True})
    assert core.status()["failed_ports"] == ["l1-eth4"]
    assert core.status()["failed_links"] == ["l1-s2"]


def test_local_port_and_strangers_are_ignored():
    core = core_of("ecmp")
    switch = connect(core, L1)
    core.port_changed(switch, 0xFFFFFFFE, up=False)
    assert core.status()["failed_ports"] == []
    stranger = FakeSwitch(0x999)
    core.switch_connected(stranger, ALL_UP)
    core.barrier_reply(stranger, 1)
    core.port_changed(stranger, 1, up=False)
    assert stranger.sent == []
    assert core.status()["failed_ports"] == []


def test_refused_message_makes_the_fabric_not_ready():
    core = core_of()
    switches = connect_all(core)
    core.switch_error(switches[L1], "type 4 code 9")
    status = core.status()
    assert (status["ready"], status["switch_errors"]) == (False, ["l1: type 4 code 9"])
    assert core.wait_ready(60.0)["ready"] is False, "known to have failed, so there is nothing to wait for"


def test_announce_returns_when_the_switches_have_confirmed():
    core = core_of()
    for switch in connect_all(core).values():
        confirm_everything(core, switch)
    (answer,) = core.announce("job", [FLOW], timeout_s=5.0)
    assert answer["path"] in ("s1", "s2")
    assert not core._sessions[L1].unconfirmed()


def test_announce_says_which_switches_have_not_confirmed():
    core = core_of()
    switches = connect_all(core)
    confirm_everything(core, switches[L1])
    with pytest.raises(ControllerError, match="job job is placed, but after 0.05 s .*: l2$"):
        core.announce("job", [FLOW], timeout_s=0.05)


def test_every_barrier_has_to_be_confirmed():
    core = core_of()
    switch = FakeSwitch(L1)
    core.switch_connected(switch, ALL_UP)
    core.rule_list(switch, switch.xid_of("census"), [], last=True)
    first = switch.xid_of("install")
    core.first_packet(switch, 1, FLOW)
    second = switch.xid_of("install")
    core.barrier_reply(switch, first)
    assert "l1" in core.status()["not_ready"]
    core.barrier_reply(switch, second)
    assert "l1" not in core.status()["not_ready"]


def test_refused_announcement_is_not_waited_for():
    core = core_of()
    began_s = time.monotonic()
    with pytest.raises(InputError, match="destination is no host"):
        core.announce("job", [Flow("10.0.1.1", "10.7.7.7", TCP, 1, 2)], timeout_s=30.0)
    assert time.monotonic() - began_s < 5


def test_wait_ready_wakes_when_the_last_switch_is_there():
    core = core_of()
    waiting = threading.Thread(target=lambda: answers.append(core.wait_ready(10.0)))
    answers = []
    waiting.start()
    connect_all(core)
    waiting.join(timeout=10)
    assert [answer["ready"] for answer in answers] == [True]


def test_wait_ready_wakes_when_a_message_is_refused():
    core = core_of()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(core.wait_ready(30.0)), daemon=True)
    waiting.start()
    while not core._waiters:
        time.sleep(0.001)
    core.switch_error(object(), "type 5 code 0")
    waiting.join(timeout=10)
    assert [answer["switch_errors"] for answer in answers] == [["unknown switch: type 5 code 0"]]


def test_wait_ready_gives_up_in_time():
    assert core_of().wait_ready(0.05)["ready"] is False


def test_what_has_happened_when_time_is_up_was_not_waited_for_in_vain():
    looks = []

    def happens_meanwhile():
        looks.append(time.monotonic())
        return len(looks) > 1

    assert core_of()._wait(happens_meanwhile, 0.05)
    assert len(looks) == 2


def test_counters_reach_the_policy_once_all_switches_have_answered():
    core = core_of()
    switches = connect_all(core)
    for age_s in (1.0, 2.0):
        core.poll()
        for dpid, switch in switches.items():
            counters = {3: PortCounter(tx_bytes=int(625_000 * age_s), age_s=age_s)} if dpid == L1 else {}
            core.port_counters(switch, switch.xid_of("ports"), counters, last=True)
            core.rule_list(switch, switch.xid_of("flows"), [], last=True)
    assert core.ask(lambda policy: policy.utilization()) == {"l1-eth3>s1-eth1": 0.5}


def test_silent_switch_does_not_keep_the_others_counters_back_for_ever():
    core = core_of("ecmp")
    switches = connect_all(core)
    for age_s in (1.0, 2.0):
        core.poll()
        counters = {3: PortCounter(tx_bytes=int(625_000 * age_s), age_s=age_s)}
        core.port_counters(switches[L1], switches[L1].xid_of("ports"), counters, last=True)
    assert core.ask(lambda policy: policy.utilization()) == {}
    core.poll()
    assert core.ask(lambda policy: policy.utilization()) == {"l1-eth3>s1-eth1": 0.5}


def test_restarted_gsos_goes_on_where_the_old_one_was():
    core = core_of()
    for switch in connect_all(core).values():
        confirm_everything(core, switch)
    answer = core.announce("job", [FLOW], timeout_s=5.0)
    restarted = core_of(snapshot=core._store.snapshot)
    switch = connect(restarted, L1)
    assert switch.table == core._sessions[L1].channel.table
    assert restarted.ask(lambda policy: policy.job_placement("job")) == answer


@pytest.mark.parametrize("snapshot", [{"jobs": 3}, {"jobs": {}, "pins": [{"flow": {}}]}, {"pins": []}])
def test_useless_state_is_put_aside(snapshot):
    core = core_of(snapshot=snapshot)
    assert core.status()["placed_flows"] == 0


def test_events_since_a_time():
    core = core_of()
    switches = connect_all(core)
    before_s = time.monotonic()
    core.port_changed(switches[L1], 3, up=False)
    core.first_packet(switches[L1], 1, Flow("10.0.1.1", "10.0.2.1", UDP, 1, 2))
    assert [event["event"] for event in core.events(before_s)] == ["link down", "placed"]
    assert core.events(time.monotonic()) == []


def test_status_tells_a_job_that_was_replaced_from_one_that_stayed():
    core = core_of()
    for switch in connect_all(core).values():
        confirm_everything(core, switch)
    core.announce("one", [FLOW], 5.0)
    before = core.status()["jobs"]
    assert before == {"one": 1}
    core.announce("one", [FLOW], 5.0)
    assert core.status()["jobs"] != before
    core.withdraw("one", 5.0)
    assert core.status()["jobs"] == {}
    with pytest.raises(InputError, match="announces no flows"):
        core.announce("two", [], 5.0)
    assert core.status()["jobs"] == {}
