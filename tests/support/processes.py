"""Scripts in processes of their own that import nothing anew: forks of one process that has imported everything once.

A tool is most of ten seconds of imports, and of one second of work. What is about the start of a process, or about
what starts several, takes new ones.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import NamedTemporaryFile

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.preload"])


class Script:
    """``Script(path, *arguments)``: a script of the checkout, which runs there in a session of its own."""

    def __init__(self, *command: object, env: Mapping[str, str] = ENV) -> None:
        self.command = [str(part) for part in command]
        self._log = NamedTemporaryFile("r+")  # noqa: SIM115  (it goes with this object)
        self._process = _FORKS.Process(target=_run, args=(self.command, dict(env), self._log.name))
        self._process.start()
        self.pid = self._process.pid
        self.is_alive = self._process.is_alive
        atexit.register(self.kill)  # nobody waits for one that a failed test has left

    def kill(self) -> None:
        """SIGKILL to it and to all that it has started, if it still lives."""
        if self.is_alive():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()

    def output(self) -> str:
        """What it has printed so far, errors among it."""
        return Path(self._log.name).read_text()

    def result(self) -> CompletedProcess:
        """Its status and output once it has ended."""
        self._process.join()
        return CompletedProcess(self.command, self._process.exitcode, self.output())


def ranks(*command: object, count: int = 2) -> list[Script]:
    """A tool in several processes that meet, as any launcher of PyTorch's would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]), WORLD_SIZE=str(count))
    places = [dict(RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(count)]
    return [Script(*command, env={**ENV, **meeting, **place}) for place in places]


def below(pid: int) -> list[int]:
    """All processes below one."""
    children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [grandchild for child in children for grandchild in below(child)]


def running(pids: list[int]) -> list[int]:
    """Those of the processes that still live; a zombie does not."""
    found = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
        except FileNotFoundError:
            continue
    return found


def _run(command: list[str], env: dict[str, str], log: str) -> None:
    import torch

    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(ROOT)
    torch.set_num_threads(1)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
