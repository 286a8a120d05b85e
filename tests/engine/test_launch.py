"""Where the tools work, and how they end."""

import argparse
import importlib
import sys
import threading
import time
import weakref
from pathlib import Path

import platformdirs
import pytest
import torch.distributed as dist
from mmengine.config import Config
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmlearngene.engine.run import launch, sweep
from mmlearngene.engine.run.launch import default_work_dir, leave_process_group
from mmlearngene.errors import LearngeneError

from ..support.processes import Script


@pytest.mark.parametrize(
    "config, expected",
    [
        ("configs/lets/aux_deit_b.py", "work_dirs/lets/aux_deit_b"),
        ("/home/me/configs/old/configs/seg/des.py", "work_dirs/seg/des"),
        ("my_config.py", "work_dirs/my_config"),
    ],
)
def test_the_work_dir_mirrors_the_configs(config, expected):
    assert str(default_work_dir(config)) == expected


class Runner:
    """Holds a distributed model and, as mmengine's runner, is held by its own loop."""

    def __init__(self):
        self.loop = self
        self.model = DistributedDataParallel(nn.Linear(1, 1))


def test_a_tool_leaves_its_process_group(tmp_path):
    leave_process_group()  # without a group there is nothing to leave
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    group = weakref.ref(dist.group.WORLD)
    Runner()
    leave_process_group()
    assert not dist.is_initialized() and group() is None


LAUNCHER = """
import os, time
from mmlearngene.engine.run.launch import run
read, write = os.pipe()
if os.fork():
    os.read(read, 1)  # it runs
else:
    os.environ["TORCHELASTIC_RUN_ID"] = "none"
    run(lambda: (os.write(write, b"x"), time.sleep(1000)))
"""


def test_a_process_of_torchruns_ends_with_torchrun(tmp_path):
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    launcher = Script(tmp_path / "launcher.py")
    launcher.result()
    end = time.monotonic() + 60
    while not launcher.output() and time.monotonic() < end:
        time.sleep(0.1)
    assert launcher.output() == "the process that started this one is gone, so it ends\n"


@pytest.fixture
def half_a_cache(tmp_path, monkeypatch):
    """Yapf's cache as another process may see it, of a yapf that this process has not imported yet; what is missing."""
    importlib.import_module("yapf.yapflib.yapf_api")
    for name in [name for name in sys.modules if name.startswith("yapf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *names, **more: str(tmp_path / "cache"))
    importlib.import_module("yapf.yapflib.yapf_api")
    file = next(Path(tmp_path, "cache").glob("Grammar-*.pickle"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    for name in [name for name in sys.modules if name.startswith("yapf")]:
        del sys.modules[name]
    return file, content


def test_a_cache_that_another_process_writes_is_waited_for(half_a_cache):
    file, content = half_a_cache
    writer = threading.Timer(0.2, file.write_bytes, [content])
    writer.start()
    launch.import_yapf()
    writer.join()
    assert "yapf.yapflib.yapf_api" in sys.modules


def test_a_cache_that_stays_broken_is_named(half_a_cache, monkeypatch):
    monkeypatch.setattr(launch, "_TRIES", (0.01,))
    for printed in (
        lambda: launch.load_config(argparse.Namespace(local_rank=0)),
        lambda: sweep.with_imports(Config()),
    ):
        with pytest.raises(LearngeneError, match=rf"yapf's cache in {half_a_cache[0].parent} is broken .* remove"):
            printed()
