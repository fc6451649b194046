"""One connection to one switch: what has been sent, what has been confirmed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from apps.openflow import is_ours
from testbed.gse.policy import Policy
from testbed.gse.rulebook import Identity
from testbed.model.rules import Rule


class Channel(Protocol):
    """What a session needs of a connection; ``apps.openflow.Switch`` is one."""

    @property
    def dpid(self) -> int:
        """The switch."""
        ...

    def install(self, wanted: Iterable[Rule], unwanted: Iterable[Identity], generation: int) -> int:
        """Send additions, removals and a barrier; return the barrier's xid."""
        ...

    def delete_cookies(self, cookies: Iterable[int]) -> int:
        """Send removals by cookie and a barrier; return its xid."""
        ...

    def request_all_rules(self) -> int:
        """Ask for every rule; return the xid."""
        ...

    def request_counters(self, *, pinned_rules: bool) -> list[int]:
        """Ask for counters; return the xids."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...

    def owns(self, datapath: object) -> bool:
        """Return whether the channel belongs to a framework's datapath object."""
        ...


class Session:
    """Brings a switch's rules in step with the policy without ever leaving it with too few.

    On connecting, everything wanted is added under a new cookie generation, over whatever is there; only
    when the switch has confirmed that are the rules of earlier generations looked up and removed.
    """

    def __init__(self, channel: Channel, generation: int) -> None:
        self.channel = channel
        self.generation = generation
        self.resynced = False
        self._installed: dict[Identity, Rule] = {}
        self._revision = -1
        self._barriers: set[int] = set()
        self._census_xid: int | None = None
        self._strange_cookies: set[int] = set()
        self._cleanup_xid: int | None = None

    def begin(self, policy: Policy) -> None:
        """Install everything, then ask what else is there; answers come in that order."""
        self.sync(policy)
        self._census_xid = self.channel.request_all_rules()

    def sync(self, policy: Policy) -> None:
        """Send the difference between the rules wanted and those sent so far."""
        dpid = self.channel.dpid
        if self._revision == policy.revision(dpid):
            return
        self._revision = policy.revision(dpid)
        wanted = policy.rules(dpid)
        fresh = [rule for identity, rule in wanted.items() if self._installed.get(identity) != rule]
        gone = [identity for identity in self._installed if identity not in wanted]
        self._installed = dict(wanted)
        if fresh or gone:
            self._barriers.add(self.channel.install(fresh, gone, self.generation))

    def rule_expired(self, identity: Identity) -> None:
        """Take note that the switch itself has removed a rule."""
        self._installed.pop(identity, None)

    def confirmed(self, xid: int) -> None:
        """Take in a barrier reply."""
        self._barriers.discard(xid)
        if xid == self._cleanup_xid:
            self.resynced = True

    def unconfirmed(self) -> frozenset[int]:
        """Return the barriers still outstanding."""
        return frozenset(self._barriers)

    def census_part(self, xid: int, cookies: Iterable[int], *, last: bool) -> bool:
        """Take in a part of the list of rules asked for by ``begin``; return whether it was one.

        With the last part the rules of earlier generations are removed.
        """
        if xid != self._census_xid:
            return False
        self._strange_cookies.update(cookie for cookie in cookies if not is_ours(cookie, self.generation))
        if last:
            self._census_xid = None
            if self._strange_cookies:
                self._cleanup_xid = self.channel.delete_cookies(sorted(self._strange_cookies))
                self._barriers.add(self._cleanup_xid)
            else:
                self.resynced = True
        return True
