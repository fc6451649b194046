"""Which processor receives an interface's frames."""

from __future__ import annotations

import pytest

from testbed.fabric.steering import mask_of


@pytest.mark.parametrize(
    ("processor", "mask"),
    [(0, "1"), (1, "2"), (31, "80000000"), (32, "1,00000000"), (35, "8,00000000"), (64, "1,00000000,00000000")],
)
def test_mask_is_written_as_the_kernel_reads_it(processor: int, mask: str) -> None:
    assert mask_of(processor) == mask
