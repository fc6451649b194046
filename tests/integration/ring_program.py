"""A program as users have them, of the standard library alone: every rank sends bytes to the next one.

    ring_program.py [--bytes N] [--fault exit|kill|stop|hang|deaf] [--rank R]

Rank R (default 2; -1: each) does what --fault says once it is connected, while the others wait for its bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

PORT = 7000
EVERYBODY = -1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, default=500_000)
    parser.add_argument("--fault", default="none")
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--leave", help="a child in a session of its own that outlives its rank sleeps under this name")
    args = parser.parse_args()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with open(os.environ["GSE_HOSTFILE"]) as file:
        hosts = [line.split()[0] for line in file]
    print(f"this is {socket.gethostname()}, its interface {os.environ['GLOO_SOCKET_IFNAME']}")
    print(f"rank {rank} complains", file=sys.stderr)
    if args.leave:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", args.leave], start_new_session=True)
    if args.fault == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    listener = socket.socket()
    listener.bind((os.environ["GSE_HOST"], PORT))  # by its name: /etc/hosts knows it
    listener.listen()
    outgoing = connect(hosts[(rank + 1) % ranks])
    incoming, address = listener.accept()
    before = socket.gethostbyname(hosts[rank - 1])
    assert address[0] == before, f"{address[0]} sends, expected {before}"
    print("connected")
    if args.rank in (rank, EVERYBODY):
        misbehave(args.fault)
    began_s = time.monotonic()
    sender = threading.Thread(target=send, args=(outgoing, args.bytes), daemon=True)
    sender.start()
    received = 0
    while data := incoming.recv(1 << 16):
        received += len(data)
    sender.join()
    took_s = time.monotonic() - began_s
    print(json.dumps({"received": received, "mbps": received * 8 / took_s / 1e6}))
    return 0 if received == args.bytes else 4


def misbehave(fault: str) -> None:
    if fault == "exit":
        print("out of luck", file=sys.stderr)
        os._exit(3)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault in ("hang", "deaf"):
        time.sleep(600)


def connect(host: str) -> socket.socket:
    """Nothing tells a client that a server has begun to listen: try again."""
    for _ in range(600):
        try:
            return socket.create_connection((host, PORT))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit(f"{host} does not listen")


def send(to: socket.socket, size: int) -> None:
    """A peer that is gone is for its other neighbour, and gse, to notice: no traceback of this thread beside it."""
    with contextlib.suppress(OSError):
        to.sendall(b"x" * size)
        to.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main())
