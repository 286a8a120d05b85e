#!/usr/bin/env python
"""FLOPs and parameters of a config's model: mmpretrain's tool, or mmsegmentation's where the config is one of it.

`tools/analysis_tools/get_flops.py CONFIG [--arch h8-l12] [--shape 224 224]`; all flags but --arch are the tool's.
Without --shape it is the config's own size of image.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import runpy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config

from mmlearngene import LearngeneError
from mmlearngene.engine.run.init_check import drop_pretrained
from mmlearngene.engine.run.launch import import_yapf, run
from mmlearngene.recipes import read_sized
from mmlearngene.utils.parser import Parser


def countable(cfg: Config, path: str) -> Config:
    """The config with a model that a tool can count without any file: no start, and the student of a distillation.

    Raises:
        LearngeneError: the student has no weights of its own, so that OpenMMLab's counter sees none of it.
    """
    drop_pretrained(cfg)
    model = cfg.model.get("student", cfg.model)
    if model.type in ("mmlearngene.AuxNet", "AuxNet"):
        raise LearngeneError(
            f"{path} trains an Aux-Net, whose weights are a learngene's; expected a descendant's config such as "
            "configs/lets/des.py. `mmlearngene plan LEARNGENE` counts every size"
        )
    model.init_cfg = None
    cfg.model = model
    return cfg


def main() -> None:
    """Count."""
    parser = Parser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--arch", metavar="SIZE", help="another size of the descendant, as in h6-l12")
    parser.add_argument("--shape", type=int, nargs="+", help="height and width of an image, pixels")
    args, rest = parser.parse_known_args()
    import_yapf()
    cfg = countable(read_sized(args.config, args.arch), args.config)
    scope = cfg.get("default_scope", "mmpretrain")
    spec = importlib.util.find_spec(scope)
    tool = Path(spec.origin).parent / ".mim" / "tools" / "analysis_tools" / "get_flops.py" if spec else None
    if not (tool and tool.is_file()):
        raise LearngeneError(f"{args.config} is of {scope}, which has no get_flops; expected mmpretrain or mmseg")
    side = cfg.model.backbone.get("img_size", 224)
    shape = args.shape or ([side, side] if isinstance(side, int) else list(side))
    with TemporaryDirectory() as folder:
        sized = Path(folder, Path(args.config).name)
        cfg.dump(sized)
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(f"{scope}.models")  # which prints that it does without its publisher's service
        sys.argv = [str(tool), str(sized), "--shape", *map(str, shape), *rest]
        runpy.run_path(str(tool), run_name="__main__")


if __name__ == "__main__":
    run(main)
