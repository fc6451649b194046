"""What does LLaMA2-13B's iteration gain of each scheme: little or much communication, one NIC a node or eight?"""

from testbed.model.scenario import Scenario, WorkloadSpec
from testbed.training.spec import TrainingSpec

SCENARIO = Scenario(
    name="llama2_13b",
    question=(
        "How much faster is an iteration of LLaMA2-13B under gse1 and GSE2.0 than under ECMP, with data parallelism "
        "and ZeRO-3, 8 x 200G or 1 x 200G a node? Where does +50% come from?"
    ),
    expectation=(
        "64 A100 at 45% MFU, nothing overlapped: on an ideal network 5%, 28%, 13% and 54% of an iteration are exposed "
        "communication. Hashing 16 flows onto 4 spines runs a ring at about 0.4 of its limit, so against ECMP at most "
        "7%, 43%, 20% and 82% are to be gained. +50% takes ZeRO-3 and one NIC for eight accelerators. "
        "'gse sweep llama2_13b': 4 jobs x 3 schemes x 10 seeds, about 50 minutes, most of it the job that computes "
        "longest."
    ),
    workload=WorkloadSpec(
        kind="training",
        size_bytes=2_400_000,
        warmup_size_bytes=524_288,
        iterations=1,
        placement="cross_leaf",
        training=TrainingSpec(preset="llama2-13b/zero3/1-nic"),
    ),
    schemes=("ecmp", "gse1", "gse2-n2n"),
    seeds=tuple(range(1, 11)),
)
OVER = (
    "workload.training.preset",
    ("llama2-13b/dp/8-nics", "llama2-13b/zero3/8-nics", "llama2-13b/dp/1-nic", "llama2-13b/zero3/1-nic"),
)
