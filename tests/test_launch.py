"""Where the tools work, and how they end."""

import weakref

import pytest
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmlearngene.engine.run.launch import default_work_dir, leave_process_group


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
