"""What the ranks of a program are told: variables, files, mpirun's command line. Pure.

torch.distributed reads RANK to MASTER_PORT (``init_method="env://"``) and GLOO_SOCKET_IFNAME; Open MPI 4 reads
OMPI_MCA_* (``ompi_info --all`` explains each) and PMIX_MCA_*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from testbed.model.attachment import Attachment, ip_intf
from testbed.model.topology import Host, Topology

MASTER_PORT: Final = 29_500  # torch's own default
FABRIC: Final = "10.0.0.0/8"  # every host's address is in it
INTERFACE_VARIABLES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
# What a user who has not said otherwise wants: lines as they are printed; hosts share the machine's few cores.
PREFERENCES: Final = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
# Ranks in different hosts are processes of one machine: everything Open MPI could find out about that is kept from it.
MPI_SETTINGS: Final = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "tcp,self",  # no shared memory
    "OMPI_MCA_btl_tcp_if_include": FABRIC,
    "OMPI_MCA_oob_tcp_if_include": FABRIC,
    "OMPI_MCA_plm": "rsh",
    "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",  # each host would bind its rank to the same first core
    "OMPI_MCA_mpi_yield_when_idle": "1",  # ranks poll while they wait, and there are more of them than cores
    "OMPI_MCA_mca_base_component_show_load_errors": "0",  # of networks this machine does not have
    "PMIX_MCA_gds": "hash",  # what ranks tell each other stays in their own memory
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank runs: its host and the interface that really has the host's address."""

    rank: int
    host: Host
    interface: str


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of what ``testbed.programs.furniture`` makes: list of hosts, launcher, folder for Open MPI's own files."""

    hostfile: str
    launcher: str
    scratch: str


def places(rank_hosts: Sequence[Host], attachment: Attachment) -> tuple[Place, ...]:
    """Return the place of every rank."""
    return tuple(Place(rank, host, ip_intf(host, attachment)) for rank, host in enumerate(rank_hosts))


def placeholder_values(place: Place, everyone: Sequence[Place], files: Files) -> dict[str, str]:
    """Return what placeholders in the command stand for."""
    return {
        "rank": str(place.rank),
        "world_size": str(len(everyone)),
        "local_rank": "0",
        "master_addr": everyone[0].host.ip,
        "master_port": str(MASTER_PORT),
        "host": place.host.name,
        "ip": place.host.ip,
        "interface": place.interface,
        "hostfile": files.hostfile,
    }


def rank_environment(place: Place, everyone: Sequence[Place], files: Files) -> dict[str, str]:
    """Return the variables that say who a rank is."""
    return {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(len(everyone)),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": everyone[0].host.ip,
        "MASTER_PORT": str(MASTER_PORT),
        **dict.fromkeys(INTERFACE_VARIABLES, place.interface),
        "GSE_HOST": place.host.name,
        "GSE_HOSTFILE": files.hostfile,
        "HOSTNAME": place.host.name,
    }


def environment(users: Mapping[str, str], place: Place, everyone: Sequence[Place], files: Files) -> dict[str, str]:
    """Return the whole environment of a rank: the user's, and ours, which wins but for ``PREFERENCES``."""
    return {
        **PREFERENCES,
        **users,
        **MPI_SETTINGS,
        "OMPI_MCA_plm_rsh_agent": files.launcher,
        "OMPI_MCA_orte_tmpdir_base": files.scratch,
        **rank_environment(place, everyone, files),
    }


def hostfile_text(everyone: Sequence[Place]) -> str:
    """Return the list of hosts, rank by rank, one slot each."""
    return "".join(f"{place.host.name} slots=1\n" for place in everyone)


def hosts_text(topology: Topology) -> str:
    """Return an /etc/hosts that knows the fabric's hosts and nobody else."""
    known = (f"{host.ip}\t{host.name}\n" for host in topology.hosts)
    return "".join(("127.0.0.1\tlocalhost\n", *known))


def mpirun_argv(everyone: Sequence[Place], files: Files, rank_argv: Sequence[str]) -> list[str]:
    """Return the command that starts ``rank_argv`` once per line of the hostfile, in its order (Open MPI 4).

    By name, not by path: given a path, Open MPI would want to set PATH on the other hosts by a shell's commands.
    """
    return ["mpirun", "-np", str(len(everyone)), "--hostfile", files.hostfile, "--map-by", "slot", *rank_argv]
