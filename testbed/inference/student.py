"""Student's t distribution, for any number of degrees of freedom. Pure.

By the incomplete beta function (Numerical Recipes 6.4; Abramowitz & Stegun 26.5.8 and 26.7.1), within 1e-10.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

MOST_STEPS: Final = 10_000
PRECISION: Final = 1e-14
TINY: Final = 1e-300
LARGEST_T: Final = 1e12  # beyond what any probability of use asks for


def two_sided_p(t: float, degrees: float) -> float:
    """Return the probability of a t as far from 0 as this one, or farther. ``degrees`` > 0."""
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5)


def upper_tail(t: float, degrees: float) -> float:
    """Return the probability of a t greater than this one."""
    half = two_sided_p(t, degrees) / 2
    return half if t >= 0 else 1 - half


@lru_cache(maxsize=1024)
def two_sided_quantile(confidence: float, degrees: float) -> float:
    """Return the t that is exceeded in size with probability ``1 - confidence``; 0 < confidence < 1."""
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > 1 - confidence and high < LARGEST_T:
        low, high = high, high * 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if two_sided_p(middle, degrees) > 1 - confidence else (low, middle)
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function for 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            found *= c * d
        if abs(c * d - 1) < PRECISION:
            break
    return found


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
