"""A plain ViT from a learngene as backbone of a detector. The training needs mmdetection: `make test-detection`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmpretrain")
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmlearngene.engine.run.device import adapt_to_device  # noqa: E402
from mmlearngene.learngenes.lets import LeTs  # noqa: E402
from mmlearngene.models import SimpleFeaturePyramid  # noqa: E402

from ..support.processes import ROOT  # noqa: E402

CONFIG = ROOT / "configs" / "det" / "des_h6_l12_coco.py"


def test_the_pyramid_has_the_strides_of_detectors_and_trains_whole():
    pyramid = SimpleFeaturePyramid(16, out_channels=8, num_outs=5)
    last = torch.randn(2, 16, 4, 6)
    maps = pyramid([torch.randn(2, 16, 4, 6), last])
    assert [tuple(m.shape) for m in maps] == [(2, 8, 16, 24), (2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3), (2, 8, 1, 2)]
    assert torch.equal(maps[4], maps[3][..., ::2, ::2])
    assert torch.equal(maps[2], pyramid.convs[2](last))  # the other maps do not count
    sum(m.square().sum() for m in maps[:4]).backward()
    assert all(parameter.grad is not None for parameter in pyramid.parameters())


def coco(folder, images: int = 4) -> None:
    """A set in COCO's form: grey images with one bright square each."""
    rng = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        found = dict(images=[], annotations=[], categories=[dict(id=1, name="square")])
        (folder / split).mkdir(parents=True)
        for number in range(images):
            image = rng.integers(0, 60, (96, 96, 3), np.uint8)
            x, y, side = (int(v) for v in rng.integers((0, 0, 36), (50, 50, 46)))
            image[y : y + side, x : x + side] = 220
            Image.fromarray(image).save(folder / split / f"{number}.png")
            found["images"].append(dict(id=number, file_name=f"{number}.png", width=96, height=96))
            box = dict(id=number, image_id=number, category_id=1, bbox=[x, y, side, side], area=side**2, iscrowd=0)
            found["annotations"].append(box)
        path = folder / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found))


def test_a_detector_trains_from_a_learngene(tmp_path, monkeypatch):
    pytest.importorskip("mmdet")
    pytest.importorskip("mmcv._ext", reason="mmcv's operators are not compiled")
    torch.manual_seed(0)
    gene = LeTs(head_dim=4, img_size=96, patch_size=16, num_classes=3).save(tmp_path / "gene.safetensors")
    coco(tmp_path)
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        {
            "model.backbone.arch": dict(embed_dims=24, num_heads=6, num_layers=12, feedforward_channels=96),
            "model.backbone.img_size": 96,
            "model.backbone.init_cfg.checkpoint": str(gene),
            "model.neck.in_channels": 24,
            "model.roi_head.bbox_head.num_classes": 1,
            "model.roi_head.bbox_head.fc_out_channels": 32,
            "train_cfg.max_epochs": 8,
            "val_evaluator.ann_file": str(tmp_path / "annotations" / "instances_val2017.json"),
            "optim_wrapper.optimizer.lr": 2e-3,
            "default_hooks.checkpoint.save_best": None,
            "default_hooks.checkpoint.interval": 8,
        }
    )
    cfg.train_cfg.val_interval = 8
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers = 0
        loader.dataset.update(data_root=f"{tmp_path}/", metainfo=dict(classes=("square",)))
        for step in loader.dataset.pipeline:
            if "scale" in step:
                step.scale = (96, 96)
            if "crop_size" in step:
                step.crop_size = (96, 96)
    cfg.update(work_dir=str(tmp_path / "run"), visualizer=None, log_level="WARNING", param_scheduler=None)
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    runner = Runner.from_cfg(adapt_to_device(cfg))
    losses = []
    step = runner.model.train_step
    monkeypatch.setattr(runner.model, "train_step", lambda *a, **k: losses.append(step(*a, **k)["loss"]) or {})
    runner.train()
    fresh = [name for name, status, _ in runner.model.backbone.load_report.tensors if status == "random"]
    assert fresh == ["ln1.weight", "ln1.bias"]  # the norm of single tokens, where the learngene's is of their mean
    assert len(losses) == 16 and all(loss.isfinite() for loss in losses)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
