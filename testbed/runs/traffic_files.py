"""Files that a scenario's cross traffic names: looked at before anything runs, with every problem at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from testbed.errors import Problem, ScenarioError
from testbed.files import open_input, read_input
from testbed.model.cross_spec import ReplaySpec
from testbed.model.flow_sizes import parse_table
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.topology import Topology
from testbed.units import mbps_to_bytes_per_s

MAX_TABLE_BYTES = 1_000_000
MAX_CAPTURE_BYTES = 512_000_000
RATE_WINDOW_S = 1.0  # over which a capture may not exceed a host's link; what is more at a moment waits in its queue


def taken_in(scenario: Scenario) -> Scenario:
    """Return the scenario with its sizes read and its capture's path made absolute.

    Raises ScenarioError when a file cannot be used: a table's every mistake with its line; a capture none of whose
    frames can be sent, or that is more than a host's link carries.
    """
    problems: list[Problem] = []
    changes: dict[str, object] = {}
    cross = scenario.cross_traffic
    if cross.poisson is not None and cross.poisson.sizes_file is not None:
        path = Path(cross.poisson.sizes_file)
        try:
            points = parse_table(read_input(path, MAX_TABLE_BYTES).decode(), source=str(path))
        except ScenarioError as error:
            problems += error.problems
        except (OSError, ValueError) as error:
            problems.append(_unreadable(path, error))
        else:
            changes |= {
                "cross_traffic.poisson.sizes": [list(point) for point in points],
                "cross_traffic.poisson.sizes_file": None,
            }
    if cross.replay is not None:
        path = Path(cross.replay.file).absolute()
        problems += _capture_problems(cross.replay, path, scenario)
        changes["cross_traffic.replay.file"] = str(path)
    if problems:
        raise ScenarioError(problems)
    return override(scenario, changes) if changes else scenario


def _unreadable(path: Path, error: Exception) -> Problem:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Problem("cannot be read", str(path), str(reason), "a readable file")


def _capture_problems(spec: ReplaySpec, path: Path, scenario: Scenario) -> Iterator[Problem]:
    from testbed.capture.pcap import recorded  # scapy takes half a second to import: only where there is a capture
    from testbed.capture.remap import least_time_scale, remap

    hosts = {host.name: host for host in Topology(scenario.fabric).hosts}
    try:
        with open_input(path, MAX_CAPTURE_BYTES) as file:
            frames = recorded(file, spec.most_frames)
            found = remap(frames, hosts, spec.map, mtu_bytes=scenario.fabric.mtu_bytes, time_scale=spec.time_scale)
    except (OSError, ValueError) as error:
        yield _unreadable(path, error)
        return
    if not found.frames:
        first = found.unmapped[0] if found.unmapped else None
        got = f"{len(found.unmapped)} frames, none of them" + (f"; frame {first.number}: {first.why}" if first else "")
        yield Problem("no frame can be sent", str(path), got, "TCP or UDP over IPv4 between addresses that have hosts")
        return
    needed = least_time_scale(found, mbps_to_bytes_per_s(scenario.fabric.host_link_mbps), RATE_WINDOW_S)
    if needed > 1:
        got = f"up to {needed:.2g} times what a host's link carries in {RATE_WINDOW_S:g} s"
        expected = f"cross_traffic.replay.time_scale >= {needed * spec.time_scale:.3g}, or faster links"
        yield Problem("recorded too fast for these links", str(path), got, expected)
