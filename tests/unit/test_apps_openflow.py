"""Rules become messages OVS understands: checked here by their wire form, in tests/integration by OVS itself."""

import pytest

from apps.compat import ofproto_v1_3, ofproto_v1_3_parser
from apps.openflow import COOKIE_MARK, COOKIE_PINNED, Switch, action_messages, flow_of_match, is_ours, match_message
from testbed.gse.policy import PRIORITY_PINNED
from testbed.gse.rulebook import flow_match
from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.rules import ETH_TYPE_IPV4, FirstLive, HashBucket, HashLive, Match, Output, PacketIn, Rule

FLOW = Flow("10.0.1.1", "10.0.2.1", TCP, 40000, 20001)


def wire(action):
    """Return the wire form of a rule's action, of the OpenFlow actions it becomes one after the other."""
    buffers = []
    for message in action_messages(action):
        buffers.append(bytearray())
        message.serialize(buffers[-1], 0)
    return b"".join(buffers)


class FakeDatapath:
    """Takes messages as the framework's connection does."""

    id = 0x101
    ofproto = ofproto_v1_3
    ofproto_parser = ofproto_v1_3_parser

    def __init__(self):
        self.sent = []
        self.xid = 0

    def set_xid(self, message):
        self.xid += 1
        message.set_xid(self.xid)

    def send(self, data, close_socket=False):
        self.sent.append(data)


def messages(block):
    """Return (type, xid, bytes) of each OpenFlow message in a block."""
    found = []
    while block:
        length = int.from_bytes(block[2:4], "big")
        found.append((block[1], int.from_bytes(block[4:8], "big"), block[:length]))
        block = block[length:]
    return found


def test_hash_action_is_a_bundle_with_basis_and_liveness():
    # ffff, length 40, vendor 0x2320, subtype 12 (bundle), algorithm 1 (hrw), fields 3 (symmetric_l3l4+udp), basis,
    # slave type NXM in_port, 2 slaves, 10 zero bytes, ports 5 and 6, padding to a multiple of 8.
    expected = "ffff002800002320000c000100031234000000020002" + "00" * 10 + "0005000600000000"
    assert wire(HashLive((5, 6), 0x1234)).hex() == expected


def test_first_live_action_is_a_bundle_in_order():
    # algorithm 0 (active_backup), four slaves: no padding needed
    assert wire(FirstLive((8, 5, 6, 7))).hex().startswith("ffff002800002320000c0000")
    assert wire(FirstLive((8, 5, 6, 7))).hex().endswith("0008000500060007")


def test_bucket_action_hashes_into_a_register_and_goes_on_in_the_table_of_buckets():
    # ffff, length 32, vendor, subtype 10 (multipath), fields 3, basis, padding, algorithm 2 (hrw), most link 3 of 4,
    # argument, padding, 16 bits from bit 0 of NXM reg0; then resubmit (14) as from the same port, in table 1
    multipath = "ffff002000002320000a00031234000000020003" + "00000000" + "0000" + "000f" + "00010004"
    resubmit = "ffff001000002320000efff801000000"
    assert wire(HashBucket(4, 0x1234)).hex() == multipath + resubmit


def test_a_buckets_rule_is_put_into_and_taken_out_of_the_second_table():
    datapath = FakeDatapath()
    rule = Rule(100, Match(eth_type=ETH_TYPE_IPV4, ip_dst="10.0.2.0/24", bucket=2), (Output(3),))
    Switch(datapath).install([rule], [rule.identity], generation=1)
    (_, _, add), (_, _, delete), _barrier = messages(datapath.sent[0])
    assert (add[24], delete[24]) == (1, 1)
    assert match_message(rule.match)["reg0"] == 2


def test_plain_actions():
    (output,) = action_messages(Output(3))
    assert output.port == 3
    (packet_in,) = action_messages(PacketIn(96))
    assert (packet_in.port, packet_in.max_len) == (ofproto_v1_3.OFPP_CONTROLLER, 96)


@pytest.mark.parametrize(
    ("match", "fields"),
    [
        (Match(), {}),
        (Match(in_port=3), {"in_port": 3}),
        (
            Match(eth_type=ETH_TYPE_IPV4, ip_dst="10.0.2.0/24"),
            {"eth_type": 0x800, "ipv4_dst": ("10.0.2.0", "255.255.255.0")},
        ),
        (
            Match(eth_type=ETH_TYPE_IPV4, ip_proto=TCP, tcp_flags=2),
            {"eth_type": 0x800, "ip_proto": 6, "tcp_flags": (2, 2)},
        ),
        (
            flow_match(Flow("10.0.1.1", "10.0.2.1", UDP, 1, 2)),
            {
                "eth_type": 0x800,
                "ip_proto": 17,
                "ipv4_src": "10.0.1.1",
                "ipv4_dst": "10.0.2.1",
                "udp_src": 1,
                "udp_dst": 2,
            },
        ),
    ],
)
def test_match_has_exactly_the_fields_of_the_rule(match, fields):
    assert dict(match_message(match).items()) == fields


def test_flow_is_read_back_from_its_match():
    assert flow_of_match(match_message(flow_match(FLOW))) == FLOW


@pytest.mark.parametrize("match", [Match(), Match(eth_type=ETH_TYPE_IPV4, ip_dst="10.0.2.0/24", ip_proto=UDP)])
def test_match_for_more_than_one_flow_names_none(match):
    assert flow_of_match(match_message(match)) is None


def test_additions_removals_and_barrier_go_out_in_one_block():
    datapath = FakeDatapath()
    rule = Rule(PRIORITY_PINNED, flow_match(FLOW), (FirstLive((5, 6)),), idle_timeout_s=10)
    gone = (100, Match(eth_type=ETH_TYPE_IPV4, ip_dst="10.0.3.0/24"))
    xid = Switch(datapath).install([rule], [gone], generation=0xABCD)
    (block,) = datapath.sent
    (add_type, _, add), (delete_type, _, delete), (barrier_type, barrier_xid, _) = messages(block)
    assert (add_type, delete_type, barrier_type) == (14, 14, 20)  # OFPT_FLOW_MOD, OFPT_BARRIER_REQUEST
    assert xid == barrier_xid
    assert int.from_bytes(add[8:16], "big") == COOKIE_MARK | COOKIE_PINNED | 0xABCD
    assert add[25] == ofproto_v1_3.OFPFC_ADD
    assert int.from_bytes(add[26:28], "big") == 10
    assert int.from_bytes(add[44:46], "big") == ofproto_v1_3.OFPFF_SEND_FLOW_REM
    assert delete[25] == ofproto_v1_3.OFPFC_DELETE_STRICT
    assert int.from_bytes(delete[30:32], "big") == 100


def test_rule_without_actions_drops():
    datapath = FakeDatapath()
    Switch(datapath).install([Rule(1, Match(), ())], [], generation=1)
    (_, _, add), _barrier = messages(datapath.sent[0])
    assert len(add) == 56, "a flow mod with an empty match and no instruction"


def test_old_generations_are_removed_by_cookie():
    datapath = FakeDatapath()
    Switch(datapath).delete_cookies([COOKIE_MARK | 7, 0])
    (_, _, one), (_, _, two), _barrier = messages(datapath.sent[0])
    assert [int.from_bytes(message[8:16], "big") for message in (one, two)] == [COOKIE_MARK | 7, 0]
    assert {message[16:24] for message in (one, two)} == {b"\xff" * 8}


def test_cookies_of_this_connection_are_recognised():
    assert is_ours(COOKIE_MARK | 5, 5)
    assert is_ours(COOKIE_MARK | COOKIE_PINNED | 5, 5)
    assert not is_ours(COOKIE_MARK | 6, 5)
    assert not is_ours(5, 5)
