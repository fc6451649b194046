"""Did frames wait where the model has queues, and hardly anywhere else? Pure."""

from __future__ import annotations

from typing import Final

from testbed.fidelity.verdict import FabricEvidence, Finding, grade
from testbed.model.fabric_spec import FabricSpec
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes

FRAMES: Final = 2  # queues are of whole frames: what is less than some of these cannot be told from a queue's doing
LEAST_MS: Final = 10.0
SHARE: Final = 0.25  # of what queues explain: samples a tenth of a second apart know it no better


def check_probe_delay(evidence: FabricEvidence) -> Finding | None:
    """Probes took about as long as the modelled queues kept them: what else did is the emulator."""
    found = evidence.probe_delay
    if found is None:
        return None
    limit_ms = allowed_ms(evidence.run.scenario.fabric, found.explained_high_p50_ms)
    return grade(
        "probe_delay",
        found.unexplained_p50_ms / limit_ms,
        f"probes took {found.measured_p50_ms:.1f} ms (p50) where queues explain {found.explained_low_p50_ms:.1f} to "
        f"{found.explained_high_p50_ms:.1f} ms: {found.unexplained_p50_ms:.1f} ms are not explained "
        f"(limit {limit_ms:.1f} ms)",
    )


def allowed_ms(fabric: FabricSpec, explained_high_p50_ms: float) -> float:
    """Return how much longer than explained half of the probes may take at least."""
    rate = mbps_to_bytes_per_s(min(fabric.host_link_mbps, fabric.uplink_mbps))
    frames_ms = FRAMES * frame_bytes(fabric.mtu_bytes) / rate * 1000
    return max(frames_ms, LEAST_MS, SHARE * explained_high_p50_ms)
