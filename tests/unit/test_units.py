import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.units import bytes_to_mbps, bytes_to_text, mbps_to_bytes_per_s, text_to_bytes
from testbed.wire import frame_bytes, tcp_payload_fraction


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64K", 65536),
        ("64KiB", 65536),
        ("8MiB", 8388608),
        ("8M", 8388608),
        ("1.5M", 1572864),
        ("17", 17),
        (" 2 GiB ", 2147483648),
    ],
)
def test_sizes_read_as_powers_of_two(text: str, size_bytes: int) -> None:
    assert text_to_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "8Q", "M", "-1K", "1e6", "0.3", "8 M B", "9" * 400, "9" * 309 + "K"])
def test_a_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        text_to_bytes(text)


@given(st.integers(min_value=0, max_value=2**40))
def test_a_size_survives_being_written(size_bytes: int) -> None:
    assert text_to_bytes(bytes_to_text(size_bytes)) == size_bytes


@given(st.floats(min_value=0.001, max_value=1e5), st.floats(min_value=0.001, max_value=1e5))
def test_rate_and_volume_agree(rate_mbps: float, duration_s: float) -> None:
    assert bytes_to_mbps(mbps_to_bytes_per_s(rate_mbps) * duration_s, duration_s) == pytest.approx(rate_mbps)


def test_a_jumbo_frame_carries_8948_of_9014_bytes() -> None:
    assert frame_bytes(9000) == 9014
    assert tcp_payload_fraction(9000) == pytest.approx(8948 / 9014)  # 9000 - 20 (IP) - 20 (TCP) - 12 (timestamps)
