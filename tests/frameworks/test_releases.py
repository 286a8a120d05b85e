"""Surprises of the libraries that the tables depend on; a release that mends one is noticed here."""

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed

from mmlearngene import LearngeneError, load_ancestry

from ..support.tiny_models import hugging_face


@pytest.mark.parametrize("kind", ["ViT", "DINOv2", "DINOv3"])
def test_names_in_memory_are_not_those_in_the_file(kind, tmp_path):
    model = hugging_face(kind)
    model.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() != model.state_dict().keys()
    assert torch.equal(load_ancestry(tmp_path).tensors["qkv.weight"][0], load_ancestry(model).tensors["qkv.weight"][0])


def test_a_clip_vision_model_remembers_the_model_that_it_was_taken_from(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = transformers.CLIPConfig(
        vision_config=dict(sizes, image_size=12, patch_size=4), text_config=dict(sizes, vocab_size=60_000)
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path / "whole")
    vision = transformers.CLIPVisionModel.from_pretrained(tmp_path / "whole")
    vision.save_pretrained(tmp_path / "vision")
    assert all(name.startswith("vision_model.") for name in load_file(tmp_path / "vision" / "model.safetensors"))
    weights = [load_ancestry(source).tensors["fc1.weight"] for source in (tmp_path / "whole", tmp_path / "vision")]
    assert torch.equal(weights[0], weights[1])


def test_from_pretrained_keeps_the_number_type_of_the_file(tmp_path):
    transformers = pytest.importorskip("transformers")
    hugging_face("ViT").half().save_pretrained(tmp_path)
    assert transformers.ViTModel.from_pretrained(tmp_path).dtype == torch.float16


def test_a_gated_dinov3_is_not_swiglu_by_default():
    transformers = pytest.importorskip("transformers")
    assert transformers.DINOv3ViTConfig(use_gated_mlp=True).hidden_act == "gelu"


def test_a_masked_autoencoder_shuffles_all_the_same():
    transformers = pytest.importorskip("transformers")
    config = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=12)
    model = transformers.ViTMAEModel(transformers.ViTMAEConfig(**config, patch_size=4, mask_ratio=0.0)).eval()
    images = torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        one, other = (model(images).last_hidden_state for _ in range(2))
    assert one.shape == (1, 10, 16) and not torch.allclose(one, other)


def test_timm_resamples_positions_of_as_many_patches_in_another_shape():
    positions = torch.arange(16.0).reshape(1, 16, 1)
    assert not torch.equal(resample_abs_pos_embed(positions, [2, 8], [4, 4], num_prefix_tokens=0), positions)


def test_timms_dinov3_keeps_its_periods_and_pools_the_mean():
    sizes = dict(embed_dim=16, depth=1, num_heads=2, img_size=32)
    model = timm.create_model("vit_small_patch16_dinov3", **sizes).bfloat16()
    assert model.rope.periods.dtype == torch.float32 and model.global_pool == "avg"
    assert load_ancestry(model.float()).spec.pool == "norm_avg"


def test_timms_radio_has_one_of_its_class_tokens_and_loaded_positions():
    from timm.models.vision_transformer import _convert_radio

    sizes = dict(embed_dim=16, depth=1, num_heads=2, img_size=48)
    model = timm.create_model("vit_base_patch16_radio_v3", **sizes)
    spec = load_ancestry(model).spec
    assert (spec.class_token, spec.reg_tokens, spec.no_embed_class, spec.final_norm) == (True, 7, True, False)
    tokens, grid = torch.randn(8, 16), torch.randn(1, 36, 16)
    names = {"cls_token.token": tokens, "pos_embed": grid}
    state = {f"radio_model.model.patch_generator.{name}": tensor for name, tensor in names.items()}
    found = _convert_radio(state, model)
    assert torch.equal(found["cls_token"][0], tokens[:1]) and torch.equal(found["reg_token"][0], tokens[1:])
    ours = resample_abs_pos_embed(grid, [3, 3], [6, 6], num_prefix_tokens=0)
    assert found["pos_embed"].shape == ours.shape and not torch.allclose(found["pos_embed"], ours, atol=0.1)


def test_mmsegmentations_defaults_are_another_vit():
    backbones = pytest.importorskip("mmseg.models.backbones")
    vit = backbones.VisionTransformer(img_size=12, patch_size=4, embed_dims=16, num_layers=1, num_heads=2)
    assert not vit.final_norm and vit.patch_embed.projection.bias is None and vit.layers[0].ln1.eps == 1e-5


def test_deit3_of_mmpretrain_and_pixio_are_refused_by_name():
    deit3 = pytest.importorskip("mmpretrain.models.backbones").DeiT3
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4)
    others = [
        deit3(dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32), img_size=16, patch_size=4),
        transformers.PixioModel(transformers.PixioConfig(**sizes, mlp_ratio=2)),
    ]
    for model in others:
        with pytest.raises(LearngeneError, match=rf"{type(model).__name__}\b.* is not .*known here"):
            load_ancestry(model)


def test_dinov2_resamples_positions_without_antialias_and_with_registers_with_it():
    from inspect import getsource

    modeling = pytest.importorskip("transformers.models").dinov2.modeling_dinov2
    registers = pytest.importorskip("transformers.models").dinov2_with_registers.modeling_dinov2_with_registers
    plain, other = modeling.Dinov2Embeddings, registers.Dinov2WithRegistersEmbeddings
    assert "antialias" not in getsource(plain.interpolate_pos_encoding)
    assert "antialias=True" in getsource(other.interpolate_pos_encoding)
