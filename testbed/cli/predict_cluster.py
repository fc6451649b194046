"""``gse predict cluster``: an all-reduce on a cluster at native rates. Not a command."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed.cli.console import Console
from testbed.cli.predict_options import (
    MOST_FLOWS,
    MOST_SEEDS,
    add_json,
    add_native,
    add_nodes,
    latencies_from,
    whole_number,
)
from testbed.errors import MachineError, Problem, ScenarioError
from testbed.fluid.cluster import CLUSTERS, ClusterSpec
from testbed.fluid.native import NATIVE_ALGORITHMS, NativeAlgorithm, expect_native
from testbed.fluid.rings import CLUSTER_SCHEMES, ClusterScheme, memory_bytes
from testbed.model.scenario_input import problems_from
from testbed.model.yaml_input import parse_settings
from testbed.runs.scenario_files import read_fields
from testbed.system.limits import address_space_limit, available_memory_bytes, cgroup_limits
from testbed.units import GIB, text_to_bytes
from testbed.views.fluid import cluster_grid, cluster_json
from testbed.views.tables import rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("cluster", metavar="CLUSTER", help=f"{', '.join(CLUSTERS)}, or a .yml file of its fields")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help=f"override a field: {', '.join(ClusterSpec.model_fields)}; repeatable",
    )
    parser.add_argument(
        "--schemes", metavar="A,B", default=",".join(CLUSTER_SCHEMES), help="some of %(default)s (default: all of them)"
    )
    parser.add_argument("--ranks", metavar="N,N", help="accelerators of the job (default: all of the cluster)")
    parser.add_argument(
        "--size", metavar="SIZE", default="1G", help="bytes of the array of a rank, e.g. 64M or 26G (default: 1G)"
    )
    parser.add_argument(
        "--algorithms", metavar="A,B", default=",".join(NATIVE_ALGORITHMS), help="some of %(default)s (default: both)"
    )
    add_nodes(parser)
    add_native(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what to expect of an all-reduce on a cluster."""
    cluster = _cluster(args.cluster, args.settings)
    wrong: list[Problem] = []
    schemes: list[ClusterScheme] = _chosen("--schemes", args.schemes, CLUSTER_SCHEMES, wrong)
    algorithms: list[NativeAlgorithm] = _chosen("--algorithms", args.algorithms, NATIVE_ALGORITHMS, wrong)
    ranks = _ranks(cluster, args.ranks, wrong)
    flows = whole_number("--flows", args.flows, MOST_FLOWS, wrong)
    seeds = whole_number("--seeds", args.seeds, MOST_SEEDS, wrong)
    size_bytes, latencies = _size(args.size, wrong), latencies_from(args, wrong)
    if wrong:
        raise ScenarioError(wrong)
    _require_memory(cluster, ranks, schemes, flows)
    found = [
        expect_native(
            cluster,
            scheme,
            algorithm,
            ranks=number,
            size_bytes=size_bytes,
            order=args.nodes,
            flows=flows,
            latencies=latencies,
            seeds=seeds,
        )
        for number in ranks
        for algorithm in algorithms
        for scheme in schemes
    ]
    if args.json:
        shown = cluster_json(cluster, found, size_bytes=size_bytes, order=args.nodes, flows=flows)
        print(json.dumps(shown, indent=2))
    else:
        grid = cluster_grid(cluster, found, size_bytes=size_bytes, order=args.nodes, flows=flows)
        Console().print(rendered([grid]))
    return 0


def _cluster(name: str, settings: Sequence[str]) -> ClusterSpec:
    """Return a cluster by name or from a file, with fields replaced. Raises ScenarioError."""
    fields: dict[str, Any]
    if name in CLUSTERS:
        fields = CLUSTERS[name].model_dump()
    elif Path(name).suffix in (".yml", ".yaml", ".json"):
        fields = _fields(Path(name))
    else:
        expected = f"one of {', '.join(CLUSTERS)}, or a .yml file"
        raise ScenarioError(Problem("no such cluster", "CLUSTER", repr(name[:80]), expected))
    try:
        return ClusterSpec.model_validate({**fields, **parse_settings(settings)})
    except ValidationError as error:
        raise ScenarioError(problems_from(error, f"cluster {name}", ClusterSpec)) from None


def _fields(path: Path) -> dict[str, Any]:
    return {"name": re.sub(r"[^a-z0-9_]", "_", path.stem.lower()), **read_fields(path, "cluster")}


def _ranks(cluster: ClusterSpec, text: str | None, wrong: list[Problem]) -> list[int]:
    if text is None:
        return [cluster.gpus]
    inside = cluster.gpus_per_node
    ranks = [whole_number("--ranks", part, cluster.gpus, wrong) for part in text.split(",")]
    expected = f"whole nodes of {inside}, two or more"
    wrong += [
        Problem("not whole nodes", "--ranks", str(number), expected)
        for number in ranks
        if number % inside or number < 2 * inside
    ]
    return ranks


def _require_memory(cluster: ClusterSpec, ranks: Sequence[int], schemes: Sequence[ClusterScheme], flows: int) -> None:
    """Raise MachineError where it takes more memory than there is: said before it is taken."""
    most = max(ranks)
    needs = {scheme: memory_bytes(cluster, most // cluster.gpus_per_node, scheme, flows) for scheme in schemes}
    there, limit = available_memory_bytes(cgroup_limits()), address_space_limit()
    there = there if limit is None else min(there, limit)
    scheme = max(needs, key=lambda one: needs[one])
    if needs[scheme] <= there:
        return
    connections = most // cluster.gpus_per_node * cluster.nics_per_node * flows
    got = f"about {needs[scheme] / 1e6:,.0f} MB for {connections:,} connections under {scheme}"
    expected = f"at most {there / 1e6:,.0f} MB available: fewer --ranks or --flows, or other --schemes"
    raise MachineError(Problem("more memory than this machine has", f"cluster {cluster.name}", got, expected))


def _size(text: str, wrong: list[Problem]) -> int:
    try:
        size_bytes = text_to_bytes(text)
    except ValueError:
        size_bytes = 0
    if not 4 <= size_bytes <= 1024 * GIB:
        wrong.append(Problem("not a size", "--size", repr(text[:80]), "a size like 64M or 26G, up to 1024G"))
    return size_bytes


def _chosen(option: str, text: str, known: Sequence[Any], wrong: list[Problem]) -> list[Any]:
    chosen = text.split(",")
    wrong += [Problem("no such choice", option, repr(one[:80]), ", ".join(known)) for one in chosen if one not in known]
    return list(dict.fromkeys(chosen))
