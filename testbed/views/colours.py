"""One colour per scheme for ever, in figures on paper and on pages."""

from __future__ import annotations

from typing import Final

# Okabe and Ito's palette (distinguishable with any colour vision).
SCHEME_COLOURS: Final = {
    "ecmp": "#D55E00",
    "gse1": "#0072B2",
    "gse2-n2n": "#009E73",
    "gse2-e2e": "#56B4E9",
    "flowlet": "#E69F00",
    "spray": "#CC79A7",
    "uet": "#000000",
    "ecmp-agents": "#F0E442",
}
OTHER_COLOUR: Final = "#777777"
# What would not be seen on a dark page.
ON_DARK: Final = {"uet": "#FFFFFF", "gse1": "#4AA8E8"}
# With a colour each scheme has a dash pattern, for grey copies.
DASHES: Final = {
    "ecmp": "",
    "gse1": "7 3",
    "gse2-n2n": "2 2.5",
    "gse2-e2e": "9 3 2 3",
    "flowlet": "5 2 1 2 1 2",
    "spray": "12 4",
    "uet": "4 4",
    "ecmp-agents": "1 3",
}


def scheme_colour(scheme: str) -> str:
    """Return the colour a scheme has in every figure."""
    return SCHEME_COLOURS.get(scheme, OTHER_COLOUR)


def dark_colour(scheme: str) -> str:
    """Return the colour a scheme has on a dark page."""
    return ON_DARK.get(scheme, scheme_colour(scheme))
