"""Tiny Aux-Nets with their distillers."""

import copy

import timm
import torch
from mmpretrain.structures import DataSample

from mmlearngene.models import AuxNet, LearngeneDistiller

VIT = dict(head_dim=8, img_size=16, patch_size=8, num_classes=5)


GENES = {
    "lets": dict(type="mmlearngene.LeTs", learngene="h1-l2", aux="h3-l4", groups=2, rows=1, repeats=2, **VIT),
    "tleg": dict(type="mmlearngene.TLEG", aux="h3-l4", **VIT),
    "sws": dict(type="mmlearngene.SWS", aux="h3-l4", stages=[1, 2, 1], **VIT),
}


def aux_net(method="lets", **kwargs):
    return AuxNet(copy.deepcopy(GENES[method]), **kwargs)


def batch(count=4, channels=3):
    samples = [DataSample().set_gt_label(i % 5) for i in range(count)]
    return torch.randn(count, channels, 16, 16), samples


def timm_checkpoint(tmp_path, **kwargs):
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5, **kwargs)
    torch.save({"model": model.state_dict()}, tmp_path / "teacher.pth")
    return model.eval(), str(tmp_path / "teacher.pth")


def distiller(tmp_path, **kwargs):
    _, checkpoint = timm_checkpoint(tmp_path)
    teacher = dict(
        type="mmlearngene.TimmTeacher",
        model_name="vit_tiny_patch16_224",
        checkpoint=checkpoint,
        img_size=32,
        num_classes=5,
    )
    preprocessor = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=True, num_classes=5)
    student = dict(type="mmlearngene.AuxNet", learngene=copy.deepcopy(GENES["lets"]))
    return LearngeneDistiller(student, teacher, data_preprocessor=preprocessor, **kwargs)
