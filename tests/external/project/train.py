"""The project's own tool: train each config named on the command line, in a folder of its own."""

import sys

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

for path in sys.argv[1:]:
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        runner = Runner.from_cfg(cfg)
        runner.train()
        print(cfg.default_scope, type(runner.model).__name__, "trained", runner.iter, "iterations")
