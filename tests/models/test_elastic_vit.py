"""ViTs whose heads are together not as wide as the residual stream: sizes, both frameworks, segmentation."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import VisionTransformer

from mmlearngene import LearngeneError, ViTSpec
from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
from mmlearngene.frameworks.mmpretrain import backbone_cfg, classifier_cfg
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.models import ElasticViT
from mmlearngene.registry import MODELS
from mmlearngene.testing import random_weights

from ..support.parity import unseen

TINY = dict(head_dim=8, patch_size=4, img_size=16, num_classes=5, embed_dims=24)
SIZES = ["h3-l3", "h5-l3", "h2,3,6-l3"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pool", ["avg_norm", "norm_avg", "cls"])
def test_timm_and_mmpretrain_agree_on_any_heads(size, pool):
    torch.manual_seed(0)
    spec = ViTSpec.parse(size, **TINY, pool=pool, class_token=pool != "avg_norm")
    weights = random_weights(spec)
    timm_model = TIMM.make(spec).eval()
    timm_model.load_state_dict(TIMM.state_dict(weights))
    mm_model = MODELS.build(classifier_cfg(spec)).eval()
    mm_model.load_state_dict(MMPRETRAIN.state_dict(weights))
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(timm_model(x), mm_model(x), rtol=0, atol=1e-5)
    assert spec.num_params == sum(p.numel() for p in timm_model.parameters())
    assert spec.num_params == sum(p.numel() for p in mm_model.parameters())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", ["timm", "mmpretrain"])
def test_state_dicts_are_read_back(size, layout):
    spec = ViTSpec.parse(size, **TINY)
    layout = dict(timm=TIMM, mmpretrain=MMPRETRAIN)[layout]
    state = layout.state_dict(random_weights(spec))
    read = layout.from_state_dict(state, **unseen(spec))
    assert read.spec == spec
    for name, tensor in layout.state_dict(read).items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)


def test_schedules_of_heads_are_sizes():
    spec = ViTSpec.parse("h2,3,6-l3", **TINY)
    assert spec.num_heads == (2, 3, 6) and str(spec) == "h2,3,6-l3"
    assert ViTSpec.parse(spec.asdict()) == spec
    assert ViTSpec.parse("h4,4-l2", **TINY) == ViTSpec.parse("h4-l2", **TINY)
    inner = {heads: ViTSpec.parse(f"h{heads}-l1", **TINY).macs for heads in (2, 3, 6)}
    rest = 16 * 24 * 48 + 24 * 5  # patch embedding and head, once a ViT
    assert spec.macs == sum(inner.values()) - 2 * rest
    with pytest.raises(LearngeneError, match="2 entries for 3 layers"):
        ViTSpec.parse("h2,3-l3", **TINY)
    with pytest.raises(LearngeneError, match="embed_dims"):
        ViTSpec.parse("h2,3-l2")


def test_is_mmpretrains_vit_where_widths_agree():
    plain = VisionTransformer("deit-tiny", img_size=32, patch_size=8)
    elastic = ElasticViT("deit-tiny", img_size=32, patch_size=8)
    elastic.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(plain(x)[0], elastic(x)[0])
    assert list(elastic.state_dict()) == list(plain.state_dict())


def test_drop_path_frozen_stages_and_depth_are_those_of_the_plain_vit():
    model = ElasticViT("deit-tiny", num_heads=5, img_size=32, patch_size=8, drop_path_rate=0.1, frozen_stages=2)
    frozen = [not any(p.requires_grad for p in layer.parameters()) for layer in model.layers]
    assert frozen == [True] * 2 + [False] * 10
    assert model.layers[-1].attn.out_drop.drop_prob == pytest.approx(0.1)
    assert model.get_layer_depth("layers.3.attn.qkv.weight") == (4, 14)


def test_wrong_number_of_heads_is_told():
    with pytest.raises(LearngeneError, match="2 entries for 12 layers"):
        ElasticViT("deit-tiny", num_heads=[3, 4])


def test_segmentor_takes_it_as_backbone():
    from mmseg.registry import MODELS as SEG_MODELS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    spec = ViTSpec.parse("h2,3,6-l3", **TINY)
    backbone = backbone_cfg(spec, out_type="featmap", final_norm=False, out_indices=[0, 1, 2])
    cfg = dict(
        type="EncoderDecoder",
        backbone=backbone,
        decode_head=dict(
            type="FCNHead",
            in_channels=24,
            channels=8,
            in_index=2,
            num_convs=1,
            num_classes=4,
            norm_cfg=dict(type="BN"),
        ),
        test_cfg=dict(mode="whole"),
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = SEG_MODELS.build(cfg).eval()
    features = model.backbone(torch.randn(1, 3, 32, 32))
    assert [tuple(f.shape) for f in features] == [(1, 24, 8, 8)] * 3
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 4, 8, 8)
