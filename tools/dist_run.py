"""Start a tool in several processes; what tools/dist_train.sh and tools/dist_test.sh share.

`python tools/dist_run.py PROCESSES TOOL ARGUMENTS...` is torchrun, with four differences: what the run needs is looked
for once, before any process starts; a free port is taken unless PORT is set; a process that fails ends the others; and
why is told in one last line.
"""

from __future__ import annotations

import argparse
import logging
import os
import runpy
import sys

from torch.distributed import run
from torch.distributed.elastic.agent.server.api import logger as agent_logger
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.api import logger as process_logger
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processes", type=int, help="processes on this machine")
    parser.add_argument("tool", help="the script that each of them runs")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    args = parser.parse_args()
    if args.processes < 1:
        parser.error(f"{args.processes} processes; expected 1 or more")
    check(args.tool, args.arguments)
    command = [f"--nproc_per_node={args.processes}", *where(), args.tool, *args.arguments]
    for logger in (agent_logger, process_logger):  # of a failure they say what is said below, at length
        logger.setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(command))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"{os.path.basename(args.tool)}: error: {reason(rank, failure)}", file=sys.stderr)
        return max(failure.exitcode, 1)
    except SignalException as error:
        print(f"{os.path.basename(args.tool)}: ended by {error.sigval.name}, with all its processes", file=sys.stderr)
        return 128 + error.sigval
    return 0


def check(tool: str, arguments: list[str]) -> None:
    """Look for what a tool needs, with what it has to look with imported once, not in every process.

    Raises:
        SystemExit: something is missing; the tool's one line has said what.
    """
    from mmengine.logging import MMLogger  # here, as usage is told without them

    from mmlearngene.engine.run.launch import CHECKED
    from mmlearngene.engine.run.launch import run as run_tool

    MMLogger.get_current_instance().setLevel(logging.WARNING)  # the first process will say what the config comes to
    sys.argv = [tool, *arguments]
    run_tool(runpy.run_path(tool)["load"])
    os.environ[CHECKED] = str(os.getpid())


def where() -> list[str]:
    """Where the processes meet: torchrun's options."""
    machines, port = os.environ.get("NNODES", "1"), os.environ.get("PORT")
    if machines == "1" and port is None:
        return ["--standalone"]
    address = os.environ.get("MASTER_ADDR", "127.0.0.1")
    rank = os.environ.get("NODE_RANK", "0")
    return [
        f"--nnodes={machines}",
        f"--node_rank={rank}",
        f"--master_addr={address}",
        f"--master_port={port or 29500}",
    ]


def reason(rank: int, failure: ProcessFailure) -> str:
    """Why a process failed, in one line."""
    if failure.exitcode < 0:
        return f"process {rank} (pid {failure.pid}) was ended by {failure.signal_name()}; so were the others"
    recorded = failure.error_file_data["message"]
    if isinstance(recorded, dict):  # a tool's own last line
        return recorded["message"].partition(": ")[2]
    return f"process {rank} ended with status {failure.exitcode}, and so did the others; its last lines are above"


if __name__ == "__main__":
    sys.exit(main())
