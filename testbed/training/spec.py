"""A training job as it is asked for: a preset, a model with its layout, or a trace with its layout. Pure.

A trace is a file, and scenarios do no I/O: whoever loads a scenario reads the file and puts what it says into
``recorded`` (``testbed.runs.scenario_files``), so that a scenario, wherever it is stored, has all that is executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final, Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from testbed.collectives.operation import Operation
from testbed.fields import Count, Mistakes, Spec
from testbed.traces.trace import Format, Kind, Places, Record, Trace, Unknown
from testbed.training.groups import GROUPS, Group
from testbed.training.hardware import ACCELERATORS, Hardware
from testbed.training.layout import Layout
from testbed.training.model import Transformer
from testbed.training.named import NAMED
from testbed.training.presets import MODELS

MAX_RECORDS: Final = 20_000  # of a trace; a rank goes through all of them
MAX_UNKNOWN: Final = 20
STAGE: Final = "pp_stage{}"  # what AICB calls those whose rows follow, in a file of all stages
NO_GROUP: Final = "none"  # what trace_groups calls the group of records that name none
MAX_GPUS: Final = 1 << 16  # of a job that is to be scaled down: all its groups are gone through
AcceleratorName = Literal["a100", "h100"]
# zero and micro_batch change as little beside a trace, but say what the file is of
DECIDED_BY_TRACES: Final = (
    "sequence_parallel",
    "bucket_bytes",
    "parameter_element_bytes",
    "gradient_element_bytes",
    "overlap",
)
DEFAULT_MFU: Final = 0.45  # an assumption of ours, of the size that well-tuned jobs report
assert set(get_args(AcceleratorName)) == set(ACCELERATORS)


class Said(NamedTuple):
    """A record of a trace, as far as an iteration needs it."""

    place: int
    kind: Kind
    operation: Operation | None
    group: str | None
    group_size: int | None
    size_bytes: int | None
    stage: str | None
    name: str | None
    compute_s: float | None


class NotUnderstood(NamedTuple):
    """A part of a trace that was not understood."""

    place: int
    text: str
    why: str


class Recorded(Spec):
    """What a trace says: of one rank where it tells ranks apart."""

    source: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    format: Format
    places: Places
    records: tuple[Said, ...] = Field(max_length=MAX_RECORDS)
    unknown: tuple[NotUnderstood, ...] = Field((), max_length=MAX_UNKNOWN)
    n_unknown: Count = Field(0, ge=0)
    n_host: Count = Field(0, ge=0, description="records of the host's part, which are not kept")
    group_sizes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, trace: Trace, sha256: str, rank: str | None, stage: int = 0) -> Recorded:
        """Return what ``trace`` says of ``rank``; unset: of the pipeline's ``stage`` where it tells stages apart.

        Raises ``Mistakes`` for records of several ranks, or too many.
        """
        names = list(dict.fromkeys(record.rank for record in trace.records))
        if rank is None and STAGE.format(stage) in names:
            rank = STAGE.format(stage)
        shown = ", ".join(map(str, names[:MAX_UNKNOWN]))
        if rank is None and len(names) > 1:
            raise Mistakes([f"trace has records of {len(names)} ranks; expected trace_rank to be one of {shown}"])
        if rank is not None and rank not in names:
            raise Mistakes([f"trace_rank={rank}; expected one of {shown}, or unset where the trace names none"])
        every = [record for record in trace.records if rank is None or record.rank == rank]
        own = [record for record in every if record.kind != "host"]  # in a trace of PyTorch most are, and none is done
        if len(own) > MAX_RECORDS:
            raise Mistakes([f"trace has {len(own)} records of the rank; expected at most {MAX_RECORDS}"])
        return cls(
            source=trace.source,
            sha256=sha256,
            format=trace.format,
            places=trace.places,
            records=tuple(Said(**{name: getattr(record, name) for name in Said._fields}) for record in own),
            unknown=tuple(NotUnderstood(one.place, one.text, one.why) for one in trace.unknown[:MAX_UNKNOWN]),
            n_unknown=trace.n_unknown,
            n_host=len(every) - len(own),
            group_sizes=trace.group_sizes,
        )

    def trace(self, regroup: dict[str, Group]) -> Trace:
        """Return the trace again, as far as it is kept; what ``regroup`` names, records or groups, is of its groups."""
        records = (Record(**said._asdict()) for said in self.records)
        return Trace(
            source=self.source,
            format=self.format,
            places=self.places,
            records=tuple(_regrouped(record, regroup) for record in records),
            unknown=tuple(Unknown(one.place, one.text, one.why) for one in self.unknown),
            n_unknown=self.n_unknown,
            known=(),
            group_sizes=self.group_sizes,
        )


def _regrouped(record: Record, regroup: dict[str, Group]) -> Record:
    if record.operation is None:
        return record
    if (group := regroup.get(record.name or "")) is not None:
        return replace(record, group=group, group_size=None)  # how many ranks it had says nothing of the other group
    return replace(record, group=regroup.get(record.group or NO_GROUP, record.group))


Name = Annotated[str, Field(max_length=200)]


class TrainingSpec(Spec):
    """What is trained, how it is divided, and on what. Raises ``Mistakes`` with all that does not fit together."""

    preset: Name | None = Field(
        None,
        description="model, layout and hardware under one name",
        json_schema_extra={"enum": [*NAMED, None]},
    )
    model: Name | None = Field(
        None,
        description="what is trained; with a trace: whose computing it has, where it says nothing of it",
        json_schema_extra={"enum": [*MODELS, None]},
    )
    trace: Annotated[str, Field(max_length=4096)] | None = Field(
        None, description="file with the iteration of a rank, in a format that gse workload inspect knows"
    )
    trace_stages: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        (), max_length=1023, description="files of a pipeline's other stages, in order: trace is the first stage's"
    )
    trace_rank: Name | None = Field(None, description="whose records, where the trace tells ranks apart")
    trace_iteration: Count | None = Field(None, ge=0, description="which iteration of it, from 0; unset: the last")
    trace_groups: tuple[Name, ...] = Field(
        (),
        max_length=100,
        description="NAME=GROUP: records of this name, or of what the trace calls a group, are of this one; none: "
        "those that name no group",
    )
    recorded: tuple[Recorded, ...] = Field(
        (), max_length=1024, description="what the traces say, by stage; put in when the scenario is loaded"
    )
    layout: Layout | None = Field(None, description="how it is divided among accelerators, nodes and NICs")
    accelerator: AcceleratorName = "a100"
    mfu: float = Field(DEFAULT_MFU, gt=0, le=1, description="model FLOPs utilisation while computing")
    nic_mbps: float = Field(200_000, gt=0, allow_inf_nan=False, description="rate of a native NIC, Mbit/s")

    @property
    def files(self) -> tuple[str, ...]:
        """The trace of each stage; empty without traces."""
        return () if self.trace is None else (self.trace, *self.trace_stages)

    @property
    def is_unread(self) -> bool:
        """Whether its traces have yet to be read."""
        return len(self.recorded) < len(self.files)

    @property
    def hardware(self) -> Hardware:
        """What it runs on natively."""
        if self.preset is not None:
            return NAMED[self.preset].hardware
        return Hardware(accelerator=ACCELERATORS[self.accelerator], mfu=self.mfu, nic_mbps=self.nic_mbps)

    @property
    def transformer(self) -> Transformer | None:
        """What is trained, where that is said."""
        if self.preset is not None:
            return NAMED[self.preset].model
        return MODELS[self.model] if self.model is not None else None

    @property
    def divided(self) -> Layout:
        """How it is divided. Raises ValueError where nothing says so; a valid specification does."""
        layout = NAMED[self.preset].layout if self.preset is not None else self.layout
        if layout is None:
            raise ValueError("no layout")
        return layout

    @property
    def regrouped(self) -> dict[str, Group]:
        """Names of records and the groups they are of, ``trace_groups``."""
        pairs = (text.rpartition("=") for text in self.trace_groups)
        return {name: group for name, _, group in pairs}  # type: ignore[misc]

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSpec:
        mistakes = [*self._name_mistakes(), *self._source_mistakes(), *self._trace_mistakes()]
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def _name_mistakes(self) -> Iterator[str]:
        for name, known in (("preset", NAMED), ("model", MODELS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                yield f"{name}={value}; expected one of {', '.join(known)}"
        for text in self.trace_groups:
            name, _, group = text.rpartition("=")
            if not name or group not in GROUPS:
                yield f"trace_groups has {text}; expected NAME=GROUP with one of {', '.join(GROUPS)}"

    def _source_mistakes(self) -> Iterator[str]:
        if self.preset is not None:
            said = [name for name in ("model", "trace", "layout") if getattr(self, name) is not None]
            said += [name for name in ("accelerator", "mfu", "nic_mbps") if name in _changed(self)]
            if said:
                yield f"preset={self.preset} with {', '.join(said)}; expected these unset: the preset says it"
            return
        if self.model is None and self.trace is None:
            yield "no preset, model or trace; expected one of them"
        if self.layout is not None and self.layout.gpus > MAX_GPUS:
            yield f"layout of {self.layout.gpus} accelerators; expected at most {MAX_GPUS}"
        if self.layout is None:
            yield f"layout unset with {'a trace' if self.trace is not None else 'a model'}; expected a layout"

    def _trace_mistakes(self) -> Iterator[str]:
        if self.trace is None:
            said = [name for name in ("trace_rank", "trace_iteration") if getattr(self, name) is not None]
            said += [name for name in ("trace_groups", "trace_stages", "recorded") if getattr(self, name)]
            if said:
                yield f"{', '.join(said)} without a trace; expected these unset, or trace"
        elif self.recorded and (found := tuple(one.source for one in self.recorded)) != self.files:
            shown = ", ".join(found[:MAX_UNKNOWN])
            yield f"trace={self.trace}, but recorded is of {shown}; expected recorded to be empty"
        if self.trace is None:
            return
        said = [f"layout.{name}" for name in DECIDED_BY_TRACES if self.layout and name in _changed(self.layout)]
        if said:
            yield f"{', '.join(said)} with a trace; expected these unset: the trace has its operations as they are"
        said = [name for name in ("accelerator", "mfu") if self.model is None and name in _changed(self)]
        if said:
            yield f"{', '.join(said)} with a trace and no model; expected these unset, or the model that is computed"
        if self.layout is not None and self.layout.pipeline != len(self.files):
            yield (
                f"traces of {len(self.files)} stages with layout.pipeline={self.layout.pipeline}; expected one of each "
                "stage: the first in trace, the others in trace_stages"
            )


def _changed(spec: Spec) -> set[str]:
    fields = type(spec).model_fields
    return {name for name in fields if getattr(spec, name) != fields[name].default}
