"""GSOS's answers as lines for people. Pure; the JSON is what programs should use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from testbed.cli.bars import bar


def gsos_lines(method: str, answer: Any, now_s: float) -> Iterator[str]:
    """Yield the lines to show for the answer to a northbound ``method``; ``now_s`` on the clock of its times."""
    views: dict[str, Callable[[Any], Iterator[str]]] = {
        "status": _status,
        "paths": _paths,
        "placement": _placement,
        "counters": _counters,
        "events": partial(_events, now_s=now_s),
    }
    try:
        yield from views[method](answer)
    except (KeyError, TypeError, AttributeError):  # an answer of another version: show it as it is
        yield json.dumps(answer, indent=2)


def _status(answer: Any) -> Iterator[str]:
    connected, expected = answer["connected"], answer["expected"]
    yield f"scheme     {answer['scheme']}, seed {answer['seed']}, on {answer['runtime']}"
    yield f"switches   {len(connected)} of {len(expected)} connected, {'ready' if answer['ready'] else 'not ready'}"
    missing = [name for name in expected if name not in connected]
    if missing:
        yield f"missing    {' '.join(missing)}"
    yield f"rules      {sum(answer['rules'].values())} ({' '.join(f'{k}:{v}' for k, v in answer['rules'].items())})"
    yield f"flows      {answer['placed_flows']} placed"
    yield f"failed     {' '.join(answer['failed_links']) or 'no link'}"
    for error in answer["switch_errors"]:
        yield f"error      {error}"


def _paths(answer: Any) -> Iterator[str]:
    for pair, paths in answer.items():
        yield f"{pair:<10} {' '.join(paths) or 'no live path'}"


def _placement(answer: Any) -> Iterator[str]:
    if not answer:
        yield "GSOS has placed no flow (ecmp places none; gse1 places what is announced or seen)"
    for flow in answer:
        yield "  ".join(f"{value}" for value in _placement_cells(flow))


def _placement_cells(flow: dict[str, Any]) -> list[str]:
    protocol = {6: "tcp", 17: "udp"}.get(flow["proto"], str(flow["proto"]))
    ends = f"{protocol} {flow['src_ip']}:{flow['src_port']} > {flow['dst_ip']}:{flow['dst_port']}"
    return [f"{ends:<46}", f"{flow['path'] or 'local':<6}", str(flow.get("reason", ""))]


def _counters(answer: Any) -> Iterator[str]:
    for name, fraction in answer.items():
        yield f"{name:<24} {bar(fraction)} {fraction:>4.0%}"


def _events(answer: Any, *, now_s: float) -> Iterator[str]:
    events = answer["events"] if isinstance(answer, dict) else answer
    if not events:
        yield "no decision yet"
    for event in events:
        what = f"{event['event']:<10} {event['subject']}: {event['action']} ({event['reason']})"
        yield f"{now_s - event['t_s']:9.3f} s ago  {what}"
