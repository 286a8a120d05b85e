"""What tools/train.py and tools/test.py share: OpenMMLab's usual flags, the config they lead to, how a tool ends."""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import importlib
import io
import logging
import os
import pickle
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config, DictAction
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from ...datasets.subset import check_share
from ...errors import LearngeneError, RunStopped
from ...recipes import read_sized

CHECKED = "MMLEARNGENE_CHECKED"  # an environment variable of processes that tools/dist_run.py starts: its process id
_TRIES = (0.1, 0.3, 1.0)  # seconds to wait between tries of an import
_LOOK = 1.0  # seconds between two looks at whether the process that started this one is there
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PEER_GONE = re.compile("(closed|reset) by peer|Broken pipe")  # what gloo and NCCL say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and the flags that every tool takes."""
    parser.add_argument("config", help="config file, or a package's, as in mmlearngene::lets/des.py")
    parser.add_argument("--arch", metavar="SIZE", help="another size of the descendant, as in h6-l12")
    parser.add_argument(
        "--work-dir",
        help="where logs and checkpoints go; by default configs/a/b.py runs in work_dirs/a/b, with --arch in a "
        "folder of the size there",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=_Overrides, help="override the config: key=value, nested as a.b=value"
    )
    parser.add_argument(
        "--data", type=Path, help="classification: images of your own in FOLDER/train and FOLDER/val, a folder a class"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def import_yapf() -> None:
    """Import yapf, with which mmengine prints configs, also while another process does so for the first time.

    yapf 0.43 puts its cache of grammars in place before it is written to its end. A process that starts at that moment,
    as those of one run do, reads half of it; a moment later the cache is whole.

    Raises:
        LearngeneError: the cache stays broken, as after a kill at that moment.
    """
    for seconds in (*_TRIES, None):
        try:
            importlib.import_module("yapf.yapflib.yapf_api")
            return
        except (EOFError, pickle.UnpicklingError) as error:
            if seconds is None:
                from platformdirs import user_cache_dir  # yapf's own way to its cache

                raise LearngeneError(
                    f"yapf's cache in {user_cache_dir('YAPF', 'Google')} is broken ({error}); what to do: remove that "
                    "folder, yapf writes it anew"
                ) from error
            time.sleep(seconds)


class _Overrides(DictAction):
    """mmengine's, which has no words for what is no ``key=value``."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            key, equals, _ = value.partition("=")
            if not (key and equals):
                raise argparse.ArgumentError(self, f"expected key=value, as in train_cfg.max_epochs=1, not {value!r}")
        super().__call__(parser, namespace, values, option_string)


def load_config(args: argparse.Namespace) -> Config:
    """The config with the command line's overrides.

    Raises:
        LearngeneError: there is no such config, or ``--arch`` or ``--data`` does not go with it.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    import_yapf()
    cfg = read_sized(args.config, args.arch)
    folder = Path(cfg.get("work_dir") or default_work_dir(args.config))
    cfg.work_dir = str(folder / cfg.arch if args.arch else folder)
    cfg.launcher = args.launcher
    if args.data:
        use_folder(cfg, args.data)
    if args.cfg_options:
        if "arch" in cfg and (asked := args.cfg_options.get("arch")):
            raise LearngeneError(f"--cfg-options arch={asked} changes no model; expected --arch {asked}")
        cfg.merge_from_dict(args.cfg_options)
    take_share(cfg)
    cfg.work_dir = args.work_dir or cfg.work_dir
    if (scope := cfg.get("default_scope")) in ("mmpretrain", "mmseg"):
        with contextlib.suppress(ImportError), contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(f"{scope}.datasets")  # which prints that it does without its publisher's service
    return cfg


def keep_short(logger: logging.Logger) -> None:
    """Leave the line for every parameter with options of its own out of the console; the log file has them all."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(lambda record: not str(record.msg).startswith("paramwise_options -- "))


def use_folder(cfg: Config, folder: Path) -> None:
    """Take the images of all loaders from ``folder/train`` and ``folder/val``, a folder for each class in either.

    Raises:
        LearngeneError: the config is not one of classification.
    """
    for name, split in (("train_dataloader", "train"), ("val_dataloader", "val"), ("test_dataloader", "val")):
        if not cfg.get(name):
            continue
        pipeline = cfg[name].dataset.get("pipeline") or []
        if "PackInputs" not in [transform["type"] for transform in pipeline]:
            raise LearngeneError(
                f"--data {folder}: {name} is not of mmpretrain's classification; expected a config like "
                "configs/lets/des.py. For segmentation set data_root and metainfo.classes of the data sets"
            )
        if not pipeline[0]["type"].rpartition(".")[2].startswith("Load"):  # a set that comes as arrays
            pipeline = [dict(type="LoadImageFromFile"), *pipeline]
        cfg[name].dataset = dict(type="CustomDataset", data_root=str(folder / split), pipeline=pipeline)


def take_share(cfg: Config) -> None:
    """Train on ``train_share`` of the images of every class, see :func:`mmlearngene.datasets.BalancedSubset`.

    ``train_share_seed`` (0) chooses which.

    Raises:
        LearngeneError: it is no share, or the config is not one of classification.
    """
    share = cfg.get("train_share", 1.0)
    check_share(share, "train_share")
    if share == 1 or not cfg.get("train_dataloader"):
        return
    dataset, chosen = cfg.train_dataloader.dataset, dict(share=share, seed=cfg.get("train_share_seed", 0))
    if dataset.type == "mmlearngene.BalancedSubset":  # the config that another run has written
        dataset.update(chosen)
        return
    if "PackInputs" not in [transform["type"] for transform in dataset.get("pipeline") or []]:
        raise LearngeneError(f"train_share={share}: train_dataloader is not of mmpretrain's classification")
    cfg.train_dataloader.dataset = dict(type="mmlearngene.BalancedSubset", dataset=dataset, **chosen)


def default_work_dir(config: str | Path) -> Path:
    """``work_dirs`` and the config's place below ``configs``: two methods may have configs of one name.

    >>> str(default_work_dir("configs/lets/aux_deit_b.py"))
    'work_dirs/lets/aux_deit_b'
    >>> str(default_work_dir("mmlearngene::lets/aux_deit_b.py"))
    'work_dirs/lets/aux_deit_b'
    """
    parts = Path(str(config).rpartition("::")[2]).with_suffix("").parts
    if "::" in str(config):  # of a package
        return Path("work_dirs", *parts)
    below = parts[len(parts) - parts[::-1].index("configs") :] if "configs" in parts else parts[-1:]
    return Path("work_dirs", *below)


def is_to_check() -> bool:
    """Whether this process looks for what the run needs: the first of its machine, if tools/dist_run.py has not."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and CHECKED not in os.environ


def first_of_all() -> bool:
    """Whether this process is the run's first one, the one that writes; asked before the processes have met."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"))
    return next((rank for rank in ranks if rank), "0") == "0"


def end_with(parent: int) -> None:
    """End this process, whatever it waits for, soon after its parent is gone, whom a SIGKILL gave no time to end it.

    Args:
        parent: process id.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        print("the process that started this one is gone, so it ends", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run(main: Callable[[], None]) -> None:
    """Run a tool's ``main``, and at its end leave its process group.

    Bad input ends it with one line and status 2; a training that cannot go on, a full disk, and another process that is
    gone, with one and status 1.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's, also where tools/dist_run.py is it
        end_with(int(os.environ.get(CHECKED, os.getppid())))
    try:
        main()
    except LearngeneError as error:
        _end(error, 2)
    except RunStopped as error:
        _end(error, 1)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _end(RunStopped(f"{error}: a file of the run could not be written. What to do: make room, then --resume"), 1)
    except RuntimeError as error:
        if not (dist.is_available() and dist.is_initialized() and _PEER_GONE.search(str(error))):
            raise
        time.sleep(10)  # whoever started the processes ends this one meanwhile, and says which was the first to fail
        _end(RunStopped(f"another process of the run is gone ({str(error).splitlines()[0]})"), 1)
    leave_process_group()


def _end(error: Exception, status: int) -> None:
    """Say one line; where tools/dist_run.py has started this process, let it say the line, as the last of all."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        get_error_handler().record_exception(error)
    else:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
    raise SystemExit(status) from None


def leave_process_group() -> None:
    """Leave the process group that a runner has joined, if any, once the runner is let go.

    The group's threads would otherwise outlive the interpreter, and with gloo now and then abort a process whose
    work is done ("terminate called without an active exception").
    """
    if dist.is_available() and dist.is_initialized():
        # runner and loops refer to each other, and the runner's DistributedDataParallel holds on to the group
        gc.collect()
        dist.destroy_process_group()
