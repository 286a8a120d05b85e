"""torchvision's ViT: as timm's, read from a live model and from a file, and written with what opens it."""

import pytest
import torch

from mmlearngene import LearngeneError, build, extract, load_ancestry
from mmlearngene.cli import main

from ..support.zoo import images, shaken

torchvision = pytest.importorskip("torchvision")
SIZES = dict(image_size=12, patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=40, num_classes=5)


def vit(**fields):
    return shaken(torchvision.models.VisionTransformer(**{**SIZES, **fields}))


@torch.no_grad()
def test_it_is_timms():
    model, x = vit(), images((12, 12))
    weights = load_ancestry(model)
    assert torch.equal(model(x), build(weights, "torchvision").eval()(x))
    torch.testing.assert_close(model(x), build(weights, "timm").eval()(x), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_checkpoint(tmp_path):
    model, x = vit(), images((12, 12))
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    weights = load_ancestry(tmp_path / "vit.pth", like=vit(num_layers=1))
    assert torch.equal(model(x), build(weights, "torchvision").eval()(x))


def test_what_it_can_be_beside_a_vit_is_refused_by_name():
    with pytest.raises(LearngeneError, match="representation_size"):
        load_ancestry(vit(representation_size=8))
    weights = load_ancestry(vit())
    weights.spec = weights.spec.replace(num_classes=0)
    with pytest.raises(LearngeneError, match="no classifier"):
        build(weights, "torchvision")


@torch.no_grad()
def test_what_is_printed_opens_what_was_written(tmp_path, capsys):
    model, x = vit(), images((12, 12))
    extract("first-k", model).save(tmp_path / "gene.safetensors")
    gene, out = str(tmp_path / "gene.safetensors"), str(tmp_path / "vit.safetensors")
    main(["expand", gene, "--arch", "h2-l2", "--layout", "torchvision", "-o", out])
    printed = capsys.readouterr().out
    code = "\n".join(
        line.strip() for line in printed.splitlines() if line.strip().startswith(("import", "from", "norm", "model"))
    )
    names = {}
    exec(code, names)  # noqa: S102
    assert torch.equal(names["model"].eval()(x), model(x))
