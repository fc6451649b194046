"""What a GSP counts. Frames unless a name says bytes; never reset."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from testbed.gse.dataplane.former import Former
from testbed.gse.dataplane.reorder import ReorderBuffer


@dataclass(slots=True)
class Counters:
    """See the module; ``docs/gse.md`` explains each."""

    host_in_frames: int = 0
    host_in_bytes: int = 0
    host_out_frames: int = 0
    host_out_bytes: int = 0
    data_out: int = 0
    data_in: int = 0
    local_frames: int = 0
    control_out: int = 0
    control_in: int = 0
    hellos: int = 0
    requests: int = 0
    grant_frames: int = 0
    grants_on_data: int = 0
    queues_made: int = 0
    containers: int = 0
    short_containers: int = 0
    # order
    delivered_in_order: int = 0
    late: int = 0
    skipped: int = 0
    gap_timeouts: int = 0
    overflows: int = 0
    reorder_depth_max_bytes: int = 0
    swapped: int = 0  # arrived behind a later packet, where order is not restored
    loss_reports: int = 0
    losses_told: int = 0
    retransmitted: int = 0
    epochs_ended: int = 0
    # back-pressure
    marked_frames: int = 0
    queue_full_drops: int = 0
    pauses: int = 0
    watchdog_alarms: int = 0
    watchdog_drops: int = 0
    # what is not ours
    malformed: int = 0
    misdirected: int = 0
    foreign: int = 0
    stale: int = 0
    unknown_destination: int = 0
    too_many_queues: int = 0
    # paths
    path_changes: int = 0
    congestion_told: int = 0
    congestion_heard: int = 0
    faults_heard: int = 0

    def add_order(self, order: ReorderBuffer) -> None:
        """Add what a reorder buffer has counted."""
        self.delivered_in_order += order.delivered
        self.late += order.late
        self.skipped += order.skipped
        self.gap_timeouts += order.gap_timeouts
        self.overflows += order.overflows
        self.reorder_depth_max_bytes = max(self.reorder_depth_max_bytes, order.depth_max_bytes)

    def add_former(self, former: Former) -> None:
        """Add the containers a former has closed."""
        self.containers += former.formed
        self.short_containers += former.short

    def to_json(self) -> dict[str, int]:
        """Return every counter."""
        return asdict(self)
