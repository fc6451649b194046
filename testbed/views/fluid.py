"""Predictions of the fluid model as tables and JSON: numbers and words only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from testbed.fluid.cluster import ClusterSpec
from testbed.fluid.job import Order
from testbed.fluid.native import NativeExpected
from testbed.fluid.predict import Expected, Way
from testbed.fluid.training import Trained, TrainingCase
from testbed.model.oracle import Band
from testbed.model.scenario import Scenario
from testbed.units import bytes_to_text
from testbed.views.cells import Grid, number_text
from testbed.views.comparison import describe
from testbed.views.exports import markdown_text

FORMAT_VERSION: Final = 1
MOST_OWN_SEEDS: Final = 5  # whose efficiencies are listed one by one
LEFT_OUT: Final = (
    "left out: TCP's unequal shares, losses and timeouts; queues and latency; reordering; hellos and grants of their "
    "own; processors. A bound where these matter (docs/fluid.md)"
)
LEFT_OUT_NATIVE: Final = (
    "left out: congestion control, losses, PFC, failures, stragglers, other jobs, queueing delay; one collective at a "
    "time, its connections' hashes independent (docs/fluid.md)"
)
WAYS: Final[Mapping[Way, str]] = {
    "in step": "every hop at the rate of its job's slowest",
    "independent": "every pair on its own until the last has ended",
    "slice by slice": "slice by slice, each after those it waits for",
}


def scenario_grid(scenario: Scenario, found: Sequence[Expected]) -> Grid:
    """Return a line per scheme: the scenario's own seeds, and all there are."""
    rows = tuple(_scheme_row(expected) for expected in found)
    many = max(len(expected.others) for expected in found)
    notes = (
        f"model: {WAYS[found[0].way]}; of limit: ideal time over time, efficiency as 'gse run' has it, seeds as it "
        "would place and hash them; worst link: flows on it",
        f"all seeds: {many}, or one where none matters; mean of {len(scenario.seeds)}: where 95% of such means fall",
        *_bound_notes(found),
        LEFT_OUT,
    )
    return Grid(
        title=f"{scenario.name}: {describe(scenario)}",
        headers=(
            "scheme",
            "time\ns",
            "busbw\nMbit/s",
            f"of limit,\nseed {_seeds_text(scenario.seeds)}",
            "all\nseeds",
            "95% of\nseeds",
            f"mean\nof {len(scenario.seeds)}",
            "worst\nlink",
            "fullest\nat first",
        ),
        rows=rows,
        notes=notes,
    )


def _bound_notes(found: Sequence[Expected]) -> tuple[str, ...]:
    if not any(expected.is_bound for expected in found):
        return ()
    return ("too many slices to follow: bytes over links alone, a lower bound of the time",)


def _seeds_text(seeds: Sequence[int]) -> str:
    shown = " ".join(map(str, seeds[:MOST_OWN_SEEDS]))
    return shown if len(seeds) <= MOST_OWN_SEEDS else f"{shown} ..."


def _scheme_row(expected: Expected) -> tuple[str, ...]:
    own, band = expected.own, expected.band
    flows = [one.most_flows for one in own if one.most_flows is not None]
    return (
        expected.scheme,
        _range([one.time_s for one in own], 2),
        _range([one.busbw_mbps for one in own], 2),
        " ".join(number_text(one.efficiency, 3) for one in own[:MOST_OWN_SEEDS]),
        number_text(band.mean, 3),
        _range(expected.single, 2),
        _range((band.low, band.high), 2),
        _range(flows, 0) if flows else "all",
        own[0].bottleneck,
    )


def _range(values: Sequence[float], digits: int) -> str:
    low, high = (number_text(value, digits) for value in (min(values), max(values)))
    return low if low == high else f"{low}..{high}"


def _band(ends: tuple[float, float]) -> str:
    return _range(ends, 3)


def scenario_json(scenario: Scenario, found: Sequence[Expected]) -> dict[str, Any]:
    """Return everything as a JSON value."""
    return {
        "format_version": FORMAT_VERSION,
        "kind": "scenario",
        "scenario": scenario.model_dump(mode="json"),
        "schemes": {
            expected.scheme: {
                "way": expected.way,
                "is_bound": expected.is_bound,
                "seeds": [asdict(one) for one in expected.own],
                "efficiency": _band_json(expected.band, expected.single),
                "seeds_of_distribution": len(expected.others),
            }
            for expected in found
        },
        "left_out": LEFT_OUT,
    }


def _band_json(band: Band, single: tuple[float, float]) -> dict[str, Any]:
    return {"mean": band.mean, "single_95": list(single), "mean_95": [band.low, band.high], "runs": band.runs}


def cluster_grid(
    cluster: ClusterSpec, found: Sequence[NativeExpected], *, size_bytes: int, order: Order, flows: int
) -> Grid:
    """Return a line per number of ranks, algorithm and scheme."""
    tiers = f"{cluster.pods} pods, {cluster.cores} core uplinks a spine, " if cluster.tiers == 3 else ""
    return Grid(
        title=(
            f"{cluster.name}: {cluster.gpus} accelerators, {cluster.nics_per_node} NICs of {cluster.nic_gbps:g} Gbit/s "
            f"a node, {cluster.leaves} leaves of {cluster.leaf_ports} ports ({cluster.wiring}), {tiers}"
            f"{cluster.spines} uplinks of {cluster.link_gbps:g} Gbit/s a leaf; "
            f"all-reduce of {bytes_to_text(size_bytes)}, nodes {order}, connections per hop and NIC: {flows}"
        ),
        headers=(
            "ranks",
            "algorithm",
            "scheme",
            "time\ns",
            "busbw\nGB/s",
            "of\nideal",
            "95% of seeds",
            "flows on\nworst link",
            "fullest",
        ),
        rows=tuple(_native_row(expected) for expected in found),
        notes=(
            "of ideal: ideal time over time; ideal: bytes alone, NICs or the fullest cut evenly used, RoCE's headers",
            "flows on worst link: connections; in brackets if they were spread evenly; *: steps decide, not bytes",
            "means over seeds; gse1 places like GSOS, plane by plane; gse2 spreads evenly, with our headers and pacing",
            LEFT_OUT_NATIVE,
        ),
        labels=3,
    )


def _native_row(expected: NativeExpected) -> tuple[str, ...]:
    seeds = expected.seeds
    flows = [one.rates.most_flows for one in seeds if one.rates.most_flows is not None]
    evenly = f"({seeds[0].rates.most_flows_evenly:.1f})"
    return (
        str(expected.ranks),
        expected.algorithm,
        expected.scheme,
        f"{expected.mean_s:.4f}" + ("*" if any(one.waits for one in seeds) else ""),
        number_text(sum(one.busbw_gbytes_per_s for one in seeds) / len(seeds), 1),
        number_text(expected.band.mean, 3),
        _band(expected.single),
        f"{_range(flows, 0)} {evenly}" if flows else f"all {evenly}",
        seeds[0].rates.bottleneck,
    )


def cluster_json(
    cluster: ClusterSpec, found: Sequence[NativeExpected], *, size_bytes: int, order: Order, flows: int
) -> dict[str, Any]:
    """Return everything as a JSON value."""
    return {
        "format_version": FORMAT_VERSION,
        "kind": "cluster",
        "cluster": cluster.model_dump(mode="json"),
        "size_bytes": size_bytes,
        "order": order,
        "flows": flows,
        "results": [
            {
                "ranks": expected.ranks,
                "algorithm": expected.algorithm,
                "scheme": expected.scheme,
                "time_s": expected.mean_s,
                "efficiency": _band_json(expected.band, expected.single),
                "seeds": [
                    {
                        "seed": one.seed,
                        "time_s": one.time_s,
                        "efficiency": one.efficiency,
                        "busbw_gbytes_per_s": one.busbw_gbytes_per_s,
                        "most_flows": one.rates.most_flows,
                        "steps_decide": one.waits,
                        "bottleneck": one.rates.bottleneck,
                    }
                    for one in expected.seeds
                ],
            }
            for expected in found
        ],
        "left_out": LEFT_OUT_NATIVE,
    }


def training_grid(found: Sequence[tuple[TrainingCase, Sequence[Trained]]]) -> Grid:
    """Return a line per case and scheme."""
    return Grid(
        title=(
            "LLaMA2-13B, A100 at 45% MFU, sequences of 4096, NICs and links of 200 Gbit/s, 32 nodes a leaf; "
            f"nodes of the job {found[0][0].order}, connections per hop and NIC: {found[0][0].flows}"
        ),
        headers=(
            "GPUs",
            "NICs a\nnode",
            "sharding",
            "scheme",
            "iteration\ns",
            "exposed\nshare",
            "rings'\nrate",
            "over\necmp",
            "95% of seeds",
        ),
        rows=tuple(_trained_row(case, one) for case, schemes in found for one in schemes),
        notes=(
            "exposed share: of the iteration, not computing; rings' rate: of what NICs or the fullest cut allow; "
            "" + ("all that can be is overlapped" if found[0][0].overlap else "nothing is overlapped"),
            "DP: gradients once, two sequences a replica; ZeRO-3: parameters twice, gradients once, one sequence",
            LEFT_OUT_NATIVE,
        ),
        labels=4,
    )


def _trained_row(case: TrainingCase, one: Trained) -> tuple[str, ...]:
    return (
        str(case.gpus),
        str(case.nics_per_node),
        "ZeRO-3" if case.zero == 3 else "DP",
        one.scheme,
        number_text(one.iteration_s, 2),
        f"{one.exposed_share:.1%}",
        number_text(one.utilisation, 3),
        f"{one.speedup - 1:+.1%}",
        f"{one.speedup_low - 1:+.0%}..{one.speedup_high - 1:+.0%}",
    )


def training_json(found: Sequence[tuple[TrainingCase, Sequence[Trained]]]) -> dict[str, Any]:
    """Return everything as a JSON value."""
    return {
        "format_version": FORMAT_VERSION,
        "kind": "training",
        "cases": [
            {"case": asdict(case), "cluster": case.cluster.model_dump(mode="json"), "schemes": [asdict(o) for o in own]}
            for case, own in found
        ],
        "left_out": LEFT_OUT_NATIVE,
    }


def markdown(grid: Grid) -> str:
    """Return a table as Markdown, with its title and notes. Names of folders are in it, which may be a stranger's."""
    heads = [markdown_text(header) for header in grid.headers]
    title, notes = markdown_text(grid.title), [markdown_text(note) for note in grid.notes]
    lines = [f"## {title[:1].upper()}{title[1:]}", ""]
    lines += [f"| {' | '.join(heads)} |", f"|{'|'.join(['---'] * len(heads))}|"]
    lines += [f"| {' | '.join(map(markdown_text, row))} |" for row in grid.rows]
    return "\n".join([*lines, "", *(f"{note[:1].upper()}{note[1:]}.  " for note in notes), ""])
