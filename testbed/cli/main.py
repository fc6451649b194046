"""Parse ``gse``'s arguments, run the subcommand, turn errors into messages and exit statuses.

Exit statuses: 0 done, 1 the work failed (or a result is not VALID where that matters), 2 the caller has
to change something first, 130 interrupted (143 by SIGTERM, 129 by SIGHUP), 141 the reader of stdout left.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Container, Sequence

from testbed import __version__
from testbed.cli import streams
from testbed.errors import InputError, MachineError, Problem, TestbedError, printable_lines
from testbed.system.interrupts import Interrupted

log = logging.getLogger(__name__)

# name -> one line for --help; each lives in testbed/cli/<name>.py with add_arguments(parser) and run(args)
COMMANDS = {
    "list": "built-in scenarios and stored results",
    "check": "validate a scenario without running it; print its JSON schema",
    "run": "run a scenario under several schemes and seeds, measure, store, print a table",
    "sweep": "vary one field of a scenario: all values under all schemes and seeds, a table and a figure",
    "bench": "a collective at many sizes: nccl-tests' table under every scheme, with verdicts",
    "predict": "what a fluid model expects: of a scenario, of clusters nobody can emulate, of training on them",
    "exec": "run your own program in the hosts: PyTorch, MPI, iperf3, anything; measure the fabric meanwhile",
    "cli": "interactive Mininet prompt on a fabric controlled by GSOS",
    "capture": "frames of a running fabric, GSE decoded, as text or for Wireshark",
    "plot": "figures and tables from stored results",
    "compare": "two sets of stored runs: what differs in settings and in results, and whether by accident",
    "table": "comparison tables of stored results as text, Markdown, LaTeX or CSV",
    "report": "one HTML page of stored results: question, verdicts, figures, settings, how to reproduce",
    "replay": "a run's GSPs done again from their journals: the same decisions, byte for byte, or where not",
    "workload": "what is in a trace of somebody's collectives: AICB, SimAI, Chakra, PARAM, NCCL",
    "doctor": "what this machine can do, and what to do about what is missing",
    "demo": "ring all-reduce under ecmp and gse1 with 3 seeds, a table and figures",
    "test": "the whole test suite",
}
MOST_PROBLEMS = 50  # printed at once: nobody mends more before trying again
EXAMPLES = """\
examples:
  sudo ./gse demo                                    the tour: three minutes, six with set-up
  ./gse list                                         what can be run
  sudo ./gse run allreduce_ring --seeds 5            compare the scenario's schemes on 5 seeds
  sudo ./gse run allreduce_ring --set fabric.spines=8 --set workload.size_bytes=4MiB
  sudo ./gse run my.yml --schemes ecmp,gse1 --json   one JSON document on stdout
  sudo ./gse sweep allreduce_ring --over gsp.container_bytes=9K,36K --schemes gse2-n2n
  sudo ./gse bench allreduce -b 64K -e 4M -f 2       nccl-tests' table of a collective
  ./gse predict scenario allreduce_ring              what to expect, without running anything
  ./gse plot results/allreduce_ring                  figures from what is stored
  ./gse compare before after                         what differs, and by accident or not? status 0, 1 or 2
  ./gse report results/allreduce_ring                one page with all of it, works offline
  ./gse workload inspect trace.csv                   what somebody's training job communicates
  sudo ./gse cli --scheme gse1                       look around in the running fabric

'gse COMMAND --help' explains each command, and what its exit status means where that is more than this:
  0 done; 1 the work failed; 2 the request, or the machine, has to change first; 130 interrupted
"""


def build_parser(complete: Container[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the whole command line; of commands that are not in ``complete`` it knows the name only.

    What a command needs is imported with it: all of them take longer than most of what is asked of any.
    """
    parser = argparse.ArgumentParser(
        prog="gse",
        description="Emulate Global Scheduling Ethernet: real switches, a real controller, real packets, one machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gse-testbed {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name not in complete:
            subparsers.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"testbed.cli.{name}")
        sub = subparsers.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.add_argument("-v", "--verbose", action="store_true", help="log what happens, with every command run")
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gse`` and return its exit status."""
    streams.prepare()
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except streams.OutputError as error:
        streams.discard_output()
        return _explain(error)
    except BrokenPipeError:  # the reader of our output left; nothing to tell it
        streams.discard_output()
        return 141


def _run(argv: Sequence[str] | None) -> int:
    """Do what ``argv`` says; return the exit status once problems have been explained."""
    try:
        _require_directory()
        words = sys.argv[1:] if argv is None else argv
        command = next((word for word in words if not word.startswith("-")), "")
        args = build_parser({command}).parse_args(words)
        logging.basicConfig(
            level=logging.DEBUG if args.verbose else logging.WARNING,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its warnings are about its own caches
        return int(args.run(args))
    except SystemExit as end:  # argparse has printed help, or what is wrong with the arguments
        return int(end.code or 0)
    except streams.OutputError:
        raise
    except TestbedError as error:
        return _explain(error)
    except Interrupted as stop:
        print(f"gse: {stop}", file=sys.stderr)
        return stop.exit_status
    except KeyboardInterrupt:
        print("gse: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:  # nobody has said what it means: a sentence for the user, the traceback with --verbose
        log.debug("failed", exc_info=True)
        return _explain(TestbedError(str(error)))
    except RecursionError:  # 2, not a traceback's 1, which of 'gse compare' is an answer
        log.debug("failed", exc_info=True)
        return _explain(MachineError(Problem("nested too deeply", "gse", "no end to it", "input that is less deep")))
    except MemoryError:
        return _explain(MachineError(Problem("out of memory", "gse", "no more", "more memory, or smaller input")))


def _require_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        problem = Problem("working directory is gone", "gse", "a deleted directory", "cd to one that exists")
        raise MachineError(problem) from None


def _explain(error: TestbedError) -> int:
    """Print what is wrong and return the exit status."""
    if isinstance(error, InputError):
        lines = [str(problem) for problem in error.problems[:MOST_PROBLEMS]]
        if (more := len(error.problems) - len(lines)) > 0:
            lines.append(f"... and {more} more")
    else:
        lines = [printable_lines(str(error))]
    for line in lines:
        print(f"gse: {line}", file=sys.stderr)
    return error.exit_status
