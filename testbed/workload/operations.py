"""From when each rank did its operations to one row for each operation. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.evaluation.records import OperationRow
from testbed.training.job import EmulatedJob

Moment = Sequence[float]  # issued, start, end


def operation_rows(
    job: EmulatedJob, size_bytes: int, moments: Sequence[Sequence[Moment]], *, iteration: int, warmup: bool
) -> tuple[OperationRow, ...]:
    """Return the rows of an iteration of ``size_bytes``; ``moments``: by rank, in the order of its operations."""
    stages = job.sized(size_bytes)
    rows = []
    for meeting in job.ideal.meetings:
        (first_rank, number), *_others = meeting
        op = stages[first_rank // job.group_hosts].communications[number]
        of_ranks = [moments[rank][place] for rank, place in meeting]
        rows.append(
            OperationRow(
                iteration=iteration,
                warmup=warmup,
                first_rank=first_rank,
                number=number,
                ranks=len(meeting),
                phase=op.phase,
                operation="message" if op.peer is not None else op.operation,
                group=op.group,
                size_bytes=op.size_bytes,
                issued_s=min(issued_s for issued_s, _start_s, _end_s in of_ranks),
                start_s=max(start_s for _issued_s, start_s, _end_s in of_ranks),
                end_s=max(end_s for _issued_s, _start_s, end_s in of_ranks),
            )
        )
    return tuple(rows)
