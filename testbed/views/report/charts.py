"""What the figures of a report show: values and words, nothing about how they look. Pure.

``Bars`` are drawn in the page itself, so that the key figure needs no script; ``Lines`` by ``page.js`` from JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.model.oracle import Band
from testbed.views.cells import Grid
from testbed.views.comparison import Spread
from testbed.views.predicted import MODEL


@dataclass(frozen=True, slots=True)
class Point:
    """One run: its value, and what is said of it."""

    value: float
    seed: int
    verdict: str
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One scheme: mean and range over its runs, every run a point, and where its mean is expected, if anywhere.

    ``modelled``: what the fluid model has for the same seeds; None: nothing.
    """

    scheme: str
    spread: Spread
    points: tuple[Point, ...]
    expected: Band | None = None
    modelled: float | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """A quantity of every scheme, with its limit if there is one."""

    key: str
    title: str
    unit: str
    digits: int
    bars: tuple[Bar, ...]
    limit: float | None
    caption: str
    limit_name: str = "physical limit"

    @property
    def most(self) -> float:
        """Where the axis ends, before it is rounded."""
        values = [point.value for bar in self.bars for point in bar.points]
        bands = [bar.expected.high for bar in self.bars if bar.expected is not None]
        models = [bar.modelled for bar in self.bars if bar.modelled is not None]
        return max([*values, *bands, *models, self.limit or 0.0], default=1.0) or 1.0

    @property
    def has_model(self) -> bool:
        """Whether the fluid model has something for any scheme."""
        return any(bar.modelled is not None for bar in self.bars)

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:.{self.digits}f}{f' {self.unit}' if self.unit else ''}"

    @property
    def alt(self) -> str:
        """The figure in words."""
        return f"Bar chart. {self.caption}"


@dataclass(frozen=True, slots=True)
class Series:
    """A line: ``y`` may have gaps (None); ``dash``: of its pattern; on one panel.

    ``low`` and ``high`` bound a band, which may have gaps too; a bar at each value where these are not connected.
    ``modelled``: what the fluid model has at each x, which may have gaps; empty: nothing.
    """

    name: str
    scheme: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    step: bool = False
    dash: str = ""
    connect: bool = True
    points: tuple[Mapping[str, Any], ...] = ()
    modelled: tuple[float | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as ``page.js`` takes it; numbers to six significant digits."""
        return {
            "name": self.name,
            "scheme": self.scheme,
            "x": _short(self.x),
            "y": _short(self.y),
            "low": _short(self.low),
            "high": _short(self.high),
            "step": self.step,
            "dash": self.dash,
            "connect": self.connect,
            "points": [dict(point) for point in self.points],
            "modelled": _short(self.modelled),
        }


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share a y axis; ``rules`` are horizontal lines with a label."""

    title: str
    y_label: str
    series: tuple[Series, ...]
    y_min: float | None = 0.0
    rules: tuple[tuple[float, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as ``page.js`` takes it."""
        return {
            "title": self.title,
            "y_label": self.y_label,
            "y_min": self.y_min,
            "rules": [{"y": y, "label": label} for y, label in self.rules],
            "series": [one.to_json() for one in self.series],
        }


@dataclass(frozen=True, slots=True)
class Lines:
    """Panels that share an x axis; ``marks`` are vertical lines with a label; ``table`` says the same in numbers."""

    key: str
    title: str
    x_label: str
    panels: tuple[Panel, ...]
    caption: str
    table: Grid
    x_log: bool = False
    x_range: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()
    marks: tuple[tuple[float, str, bool], ...] = ()  # where, what, whether it mends

    def to_json(self) -> dict[str, Any]:
        """Return it as ``page.js`` takes it."""
        return {
            "kind": "lines",
            "x_label": self.x_label,
            "x_log": self.x_log,
            "x_range": self.x_range,
            "model_name": MODEL if any(one.modelled for panel in self.panels for one in panel.series) else None,
            "ticks": [{"at": at, "text": text} for at, text in self.ticks],
            "marks": [{"at": at, "text": text, "mends": mends} for at, text, mends in self.marks],
            "panels": [panel.to_json() for panel in self.panels],
        }


def _short(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.6g}") for value in values]
