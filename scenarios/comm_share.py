"""How much of an iteration's communication does a better network take away, and how does that depend on its share?"""

from testbed.model.scenario import Scenario, WorkloadSpec
from testbed.training.layout import Layout
from testbed.training.spec import TrainingSpec

SCENARIO = Scenario(
    name="comm_share",
    question=(
        "How does the exposed share of communication in an iteration, and what schemes take off it, depend on how fast "
        "the network is for the job, and on how badly flows collide under ECMP?"
    ),
    expectation=(
        "LLaMA2-13B with ZeRO-3, one NIC for eight A100, from 1.6 Tbit/s (ideally 13% exposed) to 100 Gbit/s (71%). "
        "Under ECMP with two flows on the fullest link communication takes twice its time, with three thrice: a share "
        "f of the ideal network's iteration becomes 2f/(1+f) or 3f/(1+2f). gse1 and GSE2.0 bring it back to nearly f. "
        "Seeds differ in their collisions; the last panel sorts them. "
        "'gse sweep comm_share': 5 rates x 3 schemes x 10 seeds, about 40 minutes."
    ),
    workload=WorkloadSpec(
        kind="training",
        size_bytes=2_400_000,
        warmup_size_bytes=524_288,
        iterations=1,
        placement="cross_leaf",
        training=TrainingSpec(
            model="llama2-13b",
            layout=Layout(
                data=64, zero=3, global_batch=64, nics_per_node=1, overlap=False, bucket_bytes=27_000_000_000
            ),
            nic_mbps=200_000,
        ),
    ),
    schemes=("ecmp", "gse1", "gse2-n2n"),
    seeds=tuple(range(1, 11)),
)
OVER = ("workload.training.nic_mbps", ("1600000", "800000", "400000", "200000", "100000"))
