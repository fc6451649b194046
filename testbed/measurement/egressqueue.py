"""What waits in front of the next frame a host sends: the backlog of its own egress queue, asked of the kernel.

One question about one queue (``RouteSocket.qdisc``), no dump of all there are: it is asked before every probe.
"""

from __future__ import annotations

from testbed.errors import NetworkError
from testbed.measurement.netlink import RouteSocket
from testbed.measurement.netlink_format import egress_queues


class EgressQueue:
    """The queue at the sending end of an interface. Use as a context manager, or close it.

    Methods raise NetworkError when the kernel refuses or stays silent.
    """

    def __init__(self, route: RouteSocket, intf: str) -> None:
        """Find the queue of ``intf`` in the namespace of ``route``, which is closed with this."""
        found = [queue for queue in egress_queues(route.qdiscs()) if queue.intf == intf]
        if not found:
            raise NetworkError(f"{intf} has no queue whose backlog could be read")
        self._route = route
        self._ifindex, self._handle = found[0].ifindex, found[0].handle

    @classmethod
    def of_host(cls, pid: int, intf: str) -> EgressQueue:
        """Open the queue of an interface in the network namespace of process ``pid``. Raises OSError, too."""
        route = RouteSocket.in_namespace_of(pid)
        try:
            return cls(route, intf)
        except BaseException:
            route.close()
            raise

    def __enter__(self) -> EgressQueue:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._route.close()

    def backlog_bytes(self) -> int:
        """Return how many bytes wait now."""
        return self._route.qdisc(self._ifindex, self._handle).backlog_bytes
