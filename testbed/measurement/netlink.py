"""Counters of interfaces and queues straight from the kernel (rtnetlink), lean enough to read ten times a second.

Nothing is changed in the kernel. A socket belongs to the network namespace it was opened in.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from testbed.errors import NetworkError
from testbed.measurement import netlink_format as nl
from testbed.measurement.netlink_format import LinkCounters, LinkInfo, Qdisc
from testbed.system.namespaces import network_namespace_of

RECEIVE_BYTES: Final = 1 << 18  # a dump comes in pieces of at most 32 KiB; more means nothing is ever cut
ANSWER_TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 4  # a dump is repeated when interfaces came or went during it

T = TypeVar("T")


class _Interrupted(Exception):
    """What was dumped changed meanwhile, or part of the answer was lost: ask again."""


class RouteSocket:
    """A NETLINK_ROUTE socket. Use as a context manager, or close it. Not for use by several threads.

    Methods raise NetworkError when the kernel refuses or stays silent.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._sequence = 0
        self._names: dict[int, str] = {}

    @classmethod
    def in_namespace_of(cls, pid: int) -> RouteSocket:
        """Open a socket in the network namespace of process ``pid``; it stays there. Raises OSError."""
        with network_namespace_of(pid):
            return cls()

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def links(self) -> list[LinkInfo]:
        """Return every interface of the namespace, in the kernel's order."""
        links = self._ask(nl.RTM_GETLINK, nl.NLM_F_DUMP, nl.IFINFO.pack(0, 0, 0, 0, 0), nl.RTM_NEWLINK, nl.decode_link)
        self._names = {link.ifindex: link.intf for link in links}
        return links

    def link_counters(self) -> list[LinkCounters]:
        """Return the counters of every interface: a sixth of the work of reading them with ``links``."""
        request = nl.STATSMSG.pack(0, 0, 0, 1 << (nl.IFLA_STATS_LINK_64 - 1))
        return self._ask(nl.RTM_GETSTATS, nl.NLM_F_DUMP, request, nl.RTM_NEWSTATS, nl.decode_link_counters)

    def qdiscs(self) -> list[Qdisc]:
        """Return every egress queueing discipline of the namespace, parents before children."""
        found = self._ask(nl.RTM_GETQDISC, nl.NLM_F_DUMP, nl.TCMSG.pack(0, 0, 0, 0, 0), nl.RTM_NEWQDISC, self._qdisc)
        return [qdisc for qdisc in found if qdisc.parent != nl.TC_H_INGRESS]

    def qdisc(self, ifindex: int, handle: int) -> Qdisc:
        """Return one queueing discipline: cheap and exactly timed where few of many matter.

        The kernel leaves out its ``parent``.
        """
        request = nl.TCMSG.pack(0, ifindex, handle, 0, 0)
        return self._ask(nl.RTM_GETQDISC, nl.NLM_F_ECHO, request, nl.RTM_NEWQDISC, self._qdisc)[0]

    def name_of(self, ifindex: int) -> str:
        """Return the name of an interface. Raises NetworkError when there is none with this index."""
        if ifindex not in self._names:
            self.links()
        try:
            return self._names[ifindex]
        except KeyError:
            raise NetworkError(f"netlink: no interface has index {ifindex}") from None

    def _ask(self, kind: int, flags: int, body: bytes, answer: int, decode: Callable[[bytes], T]) -> list[T]:
        """Send one request and decode what comes back, again when it came incomplete."""
        for _attempt in range(ATTEMPTS):
            self._sequence += 1
            header = nl.HEADER.pack(nl.HEADER.size + len(body), kind, flags | nl.NLM_F_REQUEST, self._sequence, 0)
            try:
                self._socket.send(header + body)
                bodies = list(self._bodies(answer, single=not flags & nl.NLM_F_DUMP))
            except _Interrupted:
                continue
            except OSError as error:
                raise NetworkError(f"netlink request {kind}: {error}") from None
            return [decode(one) for one in bodies]
        raise NetworkError(f"netlink request {kind}: interrupted {ATTEMPTS} times, the interfaces keep changing")

    def _bodies(self, answer: int, *, single: bool) -> Iterator[bytes]:
        """Yield the payload of every message of this request's answer.

        A dump is read to its end even when it is known to be incomplete: until then the kernel takes no other.
        """
        complete = True
        while True:
            data = self._receive()
            if data is None and single:
                raise _Interrupted
            complete = complete and data is not None
            for message, flags, body in nl.messages(data or b"", self._sequence):
                complete = complete and message != nl.NLMSG_OVERRUN and not flags & nl.NLM_F_DUMP_INTR
                if message in (nl.NLMSG_DONE, nl.NLMSG_ERROR):
                    _raise_error(body)
                    if message == nl.NLMSG_ERROR:
                        raise OSError(errno.EPROTO, "acknowledged without an answer")
                    if not complete:
                        raise _Interrupted
                    return
                if message == answer:
                    yield body
                    if single:
                        return

    def _receive(self) -> bytes | None:
        """Return the next datagram, None when it was lost or cut."""
        try:
            size, _ancillary, flags, _sender = self._socket.recvmsg_into([self._buffer])
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise
        return None if flags & socket.MSG_TRUNC else bytes(self._view[:size])

    def _qdisc(self, body: bytes) -> Qdisc:
        return nl.decode_qdisc(body, self.name_of)


def _raise_error(body: bytes) -> None:
    """Raise the error an nl.NLMSG_ERROR or nl.NLMSG_DONE carries, if it carries one."""
    code = nl.ERROR.unpack_from(body)[0] if len(body) >= nl.ERROR.size else 0
    if code < 0:
        raise OSError(-code, os.strerror(-code))
