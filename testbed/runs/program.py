"""One run of a user's program, inside its capsule: the fabric of ``gse run``, other people's ranks in its hosts.

    python -m testbed.runs.program PLAN.json

The plan is that of ``testbed.runs.experiment`` with ``program`` added. Prints JSON lines likewise, and every line the
ranks print as event ``output``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from typing import Any, Final

from testbed.fabric import ovs
from testbed.measurement.tcpstat import host_counters
from testbed.programs.environment import Place, places
from testbed.programs.furniture import furnish
from testbed.programs.ranks import Ranks
from testbed.programs.request import Request
from testbed.programs.streams import Shown
from testbed.results.checks import parse_json
from testbed.runs.experiment import Experiment
from testbed.runs.first_process import Emit, run_capsule
from testbed.runs.plan import Plan
from testbed.runs.running_fabric import Fabric, running_fabric
from testbed.runs.surroundings import Surroundings
from testbed.system.namespaces import network_namespace_of

DISCARD_PORT: Final = 9
FIRST_FRAME_TIMEOUT_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.01
MOST_REPORTED: Final = 500  # JSON lines kept in the manifest; all of them are in the ranks' files
Counted = dict[str, dict[str, int]]


class ProgramExperiment(Experiment):
    """One run of a program in progress."""

    told_elsewhere = frozenset({"rank", "mpirun"})  # program_failed

    def __init__(self, plan: Plan, request: Request, emit: Emit) -> None:
        super().__init__(plan, emit)
        self._request = request
        self._everyone = places(plan.rank_hosts, plan.settings.attachment)
        self._surroundings: Surroundings | None = None
        self._started = 0
        self._reported = 0
        self._shown: dict[tuple[int, str], tuple[Place, Shown]] = {}  # by rank and stream

    def execute(self) -> None:
        """Do the whole run. Raises TestbedError when the fabric fails; the failure of the program is an event."""
        with self.supervisor:
            with running_fabric(self.plan, self.supervisor, self.directory, self.emit) as fabric:
                files = furnish(self.plan.topology, self._everyone, fabric.network.pid_of)
                self._send_a_frame(fabric)
                fabric.gsos_process.on_death = "record"  # from here on the fabric forwards without it
                surroundings = self._start_instruments(fabric, {})
                ranks = Ranks(
                    self.supervisor,
                    self._request,
                    self._everyone,
                    files,
                    users=_users_environment(),
                    log_dir=self.directory.raw,
                    on_line=self._hear_line,
                    tell=self._hear_event,
                )
                self._run(ranks, fabric, surroundings)
                silence = self._keep_gsos_story(fabric.gsos)
                self.supervisor.look_for_stops()
                self.phase("stop")
            self._tell_of_stops_and_deaths(fabric.gsos_process, silence)

    def _run(self, ranks: Ranks, fabric: Fabric, surroundings: Surroundings) -> None:
        """Let the program run, with everything that is to be measured or to happen beside it."""
        self._surroundings = surroundings
        surroundings.begin_measured()
        counted_before = self._count(fabric)
        surroundings.start_background()
        self.phase("program")
        surroundings.schedule_faults()
        with self._counted(fabric.agents):
            ranks.run()
        for (_rank, stream), (place, shown) in self._shown.items():
            self._tell_of_left_out(place, stream, shown)
        self.phase("evaluation")
        self.emit("tcp", hosts=_growth(counted_before, self._count(fabric)))
        self._store_agents(fabric.agents.stats())
        surroundings.end()

    def _count(self, fabric: Fabric) -> Counted:
        return {place.host.name: host_counters(fabric.network.pid_of(place.host.name)) for place in self._everyone}

    def _send_a_frame(self, fabric: Fabric) -> None:
        """Send a datagram from host to host: the switches' sending socket, to be enlarged, exists from then on."""
        if self.plan.datapath != "userspace":
            return
        first, second = (place.host for place in self._everyone[:2])
        room_bytes, found = fabric.network.queue_space_bytes, [0]

        def look() -> None:
            found[0] = ovs.enlarge_packet_buffers(fabric.daemons.vswitchd_pid, room_bytes).sending
            if not found[0]:
                self.supervisor.call_at(time.monotonic() + LOOK_AGAIN_S, look)

        with network_namespace_of(fabric.network.pid_of(first.name)), socket(AF_INET, SOCK_DGRAM) as sender:
            sender.sendto(b"first", (second.ip, DISCARD_PORT))
        look()
        self.supervisor.run_until(lambda: found[0] > 0, FIRST_FRAME_TIMEOUT_S, "the switches to send a first frame")

    def _hear_event(self, event: str, **fields: Any) -> None:
        self.emit(event, **fields)
        self._started += event == "rank_started"
        if event == "rank_started" and self._started == len(self._everyone) and self._surroundings is not None:
            self._surroundings.note_beginning()  # what ranks do in their first second is not somebody else's doing

    def _hear_line(self, place: Place, stream: str, text: str) -> None:
        shown = self._shown.setdefault((place.rank, stream), (place, Shown(time.monotonic())))[1]
        if shown.may_be(time.monotonic()):
            self._tell_of_left_out(place, stream, shown)
            self.emit("output", rank=place.rank, host=place.host.name, stream=stream, text=text)
        if stream == "stdout" and text.startswith("{") and self._reported < MOST_REPORTED:
            try:
                values = parse_json(text)
            except (ValueError, RecursionError):
                return
            self._reported += 1
            self.emit("reported", rank=place.rank, host=place.host.name, values=values)

    def _tell_of_left_out(self, place: Place, stream: str, shown: Shown) -> None:
        gap = shown.gap("mpirun.log" if stream == "mpirun" else f"rank-{place.rank}.{stream}")
        if gap is not None:
            self.emit("output", rank=place.rank, host=place.host.name, stream=stream, text=gap)


def _users_environment() -> Mapping[str, str]:
    """Return the environment ``gse`` was called with."""
    return {name: value for name, value in os.environ.items() if name != "GSE_CAPSULE"}


def _growth(before: Counted, after: Counted) -> Counted:
    return {host: {name: after[host][name] - value for name, value in own.items()} for host, own in before.items()}


def main(plan_path: str) -> int:
    """Run the plan and return the exit status."""

    def execute(emit: Emit) -> None:
        value: Any = json.loads(Path(plan_path).read_text())
        ProgramExperiment(Plan.from_json(value), Request.from_json(value["program"]), emit).execute()

    return run_capsule(execute)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
