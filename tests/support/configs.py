"""The project's configs, made tiny."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from PIL import Image

from mmlearngene.engine.run.device import adapt_to_device

CONFIGS = Path(__file__).parents[2] / "configs"


PATCH, HEAD_DIM = 112, 4  # at 224 pixels: four tokens


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(4):
        (root / f"class{number % 2}").mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 50, 3), np.uint8)).save(
            root / f"class{number % 2}/{number}.png"
        )
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("teacher") / "test_vit.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    return dict(model_name="test_vit", pretrained=False, checkpoint=str(path))


def shrink(cfg: Config, images: Path, teacher: dict, work_dir: Path) -> Config:
    """The same config with heads of 4 channels, four tokens, four images, and one epoch after its warm-up."""
    model = cfg.model
    for classifier in (model, model.get("student", {})):
        if "arch" in classifier.get("backbone", {}):
            arch = classifier.backbone.arch
            width = arch.num_heads * HEAD_DIM
            assert (arch.embed_dims, arch.feedforward_channels) == (arch.num_heads * 64, arch.num_heads * 256)
            assert classifier.head.in_channels == arch.embed_dims
            arch.update(embed_dims=width, feedforward_channels=4 * width)
            classifier.backbone.patch_size = PATCH
            classifier.head.in_channels = width
            if "head_dims" in classifier.backbone:
                classifier.backbone.head_dims = HEAD_DIM
        if "learngene" in classifier:
            classifier.learngene.update(head_dim=HEAD_DIM, patch_size=PATCH)
    if "teacher" in model:
        asked = model.teacher
        if "folder" in asked:  # a cache of a teacher
            asked.folder, asked = str(work_dir / "cache"), asked.teacher
        asked.update(teacher)
    warm_up = max(scheduler.get("begin", 0) for scheduler in cfg.param_scheduler)
    assert cfg.train_cfg.max_epochs > warm_up
    for scheduler in cfg.param_scheduler:
        scheduler.update({key: 1 for key in ("begin", "end") if scheduler.get(key)})
    warm_up = min(warm_up, 1)
    cfg.train_cfg.update(max_epochs=warm_up + 1, val_interval=warm_up + 1)
    cfg.default_hooks.checkpoint.update(interval=warm_up + 1, save_best=None)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        pipeline = loader.dataset.pipeline
        if pipeline[0].type != "LoadImageFromFile":  # CIFAR-100 comes as arrays
            pipeline = [dict(type="LoadImageFromFile"), *pipeline]
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset = dict(type="CustomDataset", data_root=str(images), pipeline=pipeline)
    cfg.update(work_dir=str(work_dir), log_level="ERROR", visualizer=None)
    return adapt_to_device(cfg)
