"""A project of somebody else: registries of a scope of its own, a model, a data set and a metric."""

import torch
from mmengine import registry
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

MODELS = registry.Registry("model", parent=registry.MODELS, scope="thirdparty")
DATASETS = registry.Registry("dataset", parent=registry.DATASETS, scope="thirdparty")
METRICS = registry.Registry("metric", parent=registry.METRICS, scope="thirdparty")


@MODELS.register_module()
class BrightnessModel(BaseModel):
    """Tells how bright an image is from the mean feature of a backbone."""

    def __init__(self, backbone: dict, width: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(width, 1)

    def forward(self, image, brightness, mode="tensor"):
        found = self.head(self.backbone(image)[-1].mean((2, 3)))[:, 0]
        if mode == "loss":
            return dict(loss=(found - brightness).square().mean())
        return list(zip(found, brightness, strict=True)) if mode == "predict" else found


@DATASETS.register_module()
class GreyImages(Dataset):
    """Images of one grey and a little noise."""

    def __init__(self, count: int = 8, side: int = 32) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict:
        brightness = torch.tensor(number / self.count)
        noise = torch.randn(3, self.side, self.side, generator=torch.Generator().manual_seed(number))
        return dict(image=brightness + 0.1 * noise, brightness=brightness)


@METRICS.register_module()
class MeanError(BaseMetric):
    """Mean absolute error of the brightness."""

    default_prefix = "brightness"

    def process(self, data_batch, data_samples) -> None:
        self.results += [abs(float(found) - float(true)) for found, true in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return dict(error=sum(results) / len(results))
