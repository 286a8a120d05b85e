"""Checkpoints under the names of their authors' code: read with what they are like, equal in what they compute."""

import re

import pytest
import timm
import torch

from mmlearngene import LearngeneError, build, load_ancestry

from ..support.zoo import images, outputs, shaken, tiny_timm


def _inverse_clip(state: dict) -> dict:
    """timm's names in those of OpenAI's and open_clip's code."""
    swaps = (
        (r"^patch_embed\.proj", "conv1"), (r"^pos_embed$", "positional_embedding"),
        (r"^blocks\.", "transformer.resblocks."),
        (r"^norm_pre", "ln_pre"), (r"^norm\.", "ln_post."), (r"\.norm([12])\.", r".ln_\1."), (r"qkv\.", "in_proj_"),
        (r"attn\.proj", "attn.out_proj"), (r"mlp\.fc1", "mlp.c_fc"), (r"mlp\.fc2", "mlp.c_proj"),
        (r"^cls_token$", "class_embedding"),
    )  # fmt: skip
    out = {"logit_scale": torch.ones([]), "token_embedding.weight": torch.ones(3, 4)}
    for name, tensor in state.items():
        if name == "head.bias":
            continue
        if name == "head.weight":
            out["visual.proj"] = tensor.T
            continue
        for old, new in swaps:
            name = re.sub(old, new, name)
        out[f"visual.{name}"] = tensor.flatten(0, -2)[0] if name == "class_embedding" else tensor.squeeze(0)
    return out


def _clip(state: dict) -> dict:
    state["head.bias"].zero_()
    return _inverse_clip(state)


def _dinov2(state: dict) -> dict:
    return {**state, "mask_token": torch.ones(1, 32)}


def _dinov2_in_chunks(state: dict) -> dict:
    return {re.sub(r"^blocks\.(\d)", r"blocks.\1.\1", name): tensor for name, tensor in _dinov2(state).items()}


def _dinov2_registers(state: dict) -> dict:
    state = _dinov2(state)
    state["register_tokens"] = state.pop("reg_token")
    state["pos_embed"] = torch.cat([torch.zeros(1, 1, 32), state["pos_embed"]], 1)
    return state


def _dinov2_gated(state: dict) -> dict:
    names = {name: name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3") for name in state}
    return {names.get(name, name): tensor for name, tensor in _dinov2(state).items()}


def _dinov3(state: dict) -> dict:
    out = {"rope_embed.periods": torch.ones(4), "mask_token": torch.ones(1, 32)}
    for name, tensor in state.items():
        if name.endswith("q_bias"):
            zero = torch.zeros_like(tensor)
            out[name.replace("q_bias", "qkv.bias")] = torch.cat([tensor, zero, state[name.replace("q_bias", "v_bias")]])
            out[name.replace("q_bias", "qkv.bias_mask")] = torch.cat([zero + 1, zero, zero + 1])
        elif not name.endswith("v_bias"):
            name = name.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma")
            out[name.replace("gamma_2", "ls2.gamma")] = tensor
    return out


def _eva02(state: dict) -> dict:
    names = (("mlp.fc1_g", "mlp.w1"), ("mlp.fc1_x", "mlp.w2"), ("mlp.fc2", "mlp.w3"), ("mlp.norm", "mlp.ffn_ln"),
             ("attn.q_proj.bias", "attn.q_bias"), ("attn.v_proj.bias", "attn.v_bias"))  # fmt: skip
    out = {"rope.freqs_cos": torch.ones(9, 16), "rope.freqs_sin": torch.ones(9, 16)}
    for name, tensor in state.items():
        for new, old in names:
            name = name.replace(new, old)
        out[name] = tensor
    return dict(module=out)


def _mae(state: dict) -> dict:
    decoder = dict.fromkeys(
        ("decoder_embed.weight", "decoder_blocks.0.norm1.weight", "decoder_pos_embed"), torch.ones(1, 2)
    )
    return dict(model={**state, **decoder, "mask_token": torch.ones(1, 1, 32)})


def _deit3(state: dict) -> dict:
    return dict(model={re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): tensor for name, tensor in state.items()})


def _dino(state: dict) -> dict:
    teacher = {f"module.backbone.{name}": tensor for name, tensor in state.items()}
    return dict(teacher={**teacher, "module.head.mlp.0.weight": torch.ones(2, 2)}, epoch=3)


def _ijepa(state: dict) -> dict:
    return dict(target_encoder={f"module.{name}": tensor for name, tensor in state.items()}, epoch=3)


def _aimv2(state: dict) -> dict:
    names = (("mlp.fc1_g", "mlp.fc1"), ("mlp.fc1_x", "mlp.fc3"), ("norm1", "norm_1"), ("norm2", "norm_2"))
    out = {}
    for name, tensor in state.items():
        for new, old in names:
            name = name.replace(new, old)
        name = name.replace("patch_embed.", "preprocessor.patchifier.").replace("blocks.", "trunk.blocks.")
        out[re.sub("^norm", "trunk.post_trunk_norm", re.sub("^pos_embed", "preprocessor.pos_embed", name))] = tensor
    return out


ORIGINALS = {
    "CLIP": ("vit_base_patch16_clip_quickgelu_224", _clip),
    "DINOv2": ("vit_small_patch14_dinov2", _dinov2),
    "DINOv2 in chunks": ("vit_small_patch14_dinov2", _dinov2_in_chunks),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", _dinov2_registers),
    "DINOv2 with a gate": ("vit_giant_patch14_dinov2", _dinov2_gated),
    "DINOv3": ("vit_small_patch16_dinov3_qkvb", _dinov3),
    "EVA-02": ("eva02_base_patch14_224", _eva02),
    "MAE": ("vit_base_patch16_224", _mae),
    "DeiT III": ("deit3_small_patch16_224", _deit3),
    "DINO": ("vit_small_patch16_224", _dino),
    "I-JEPA": ("vit_huge_patch14_gap_224", _ijepa),
    "AIMv2": ("aimv2_large_patch14_224", _aimv2),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_file_of_the_authors_code(name, tmp_path):
    like, renamed = ORIGINALS[name]
    model = tiny_timm(like, **({} if name in ("CLIP", "EVA-02", "MAE", "DeiT III") else dict(num_classes=0)))
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    torch.save(renamed(state), tmp_path / "original.pth")
    if name == "CLIP":
        torch.nn.init.zeros_(model.head.bias)
    weights = load_ancestry(tmp_path / "original.pth", like=model)
    assert weights.spec == load_ancestry(model).spec
    x = images(weights.spec.img_size)
    for one, other in zip(outputs(model, x), outputs(build(weights, "timm", adapt=True), x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_microsofts_swin(tmp_path):
    sizes = dict(img_size=32, patch_size=2, embed_dim=32, depths=(2, 2), num_heads=(1, 2), window_size=4, num_classes=5)
    model = shaken(timm.create_model("swin_tiny_patch4_window7_224", **sizes))
    state = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", name)
        state[name.replace("head.fc.", "head.")] = tensor
    torch.save(dict(model=state), tmp_path / "swin.pth")
    weights = load_ancestry(tmp_path / "swin.pth", like=model)
    x = images(weights.spec.img_size)
    assert torch.equal(model(x), build(weights, "timm").eval()(x))


def test_biases_of_keys_that_are_not_masked_are_refused(tmp_path):
    model = tiny_timm("vit_small_patch16_dinov3_qkvb", num_classes=0)
    state = _dinov3(model.state_dict())
    state["blocks.0.attn.qkv.bias_mask"] = torch.ones(96)
    torch.save(state, tmp_path / "original.pth")
    with pytest.raises(LearngeneError, match="storage_tokens|not understood|missing"):
        load_ancestry(tmp_path / "original.pth", like=model)


def test_what_is_beside_the_vit_is_said(tmp_path, caplog):
    model = tiny_timm("vit_base_patch16_224")
    torch.save(_mae(model.state_dict()), tmp_path / "mae.pth")
    load_ancestry(tmp_path / "mae.pth", like=model)
    assert "mae.pth: left aside: decoder_embed, decoder_blocks, decoder_pos_embed, mask_token" in caplog.text


def test_the_weights_of_a_folder_given_alone(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=12, patch_size=4)
    model = shaken(
        transformers.ViTModel(transformers.ViTConfig(**sizes, intermediate_size=24), add_pooling_layer=False)
    )
    model.save_pretrained(tmp_path)
    x = images((12, 12))
    rebuilt = build(load_ancestry(tmp_path / "model.safetensors"), "hf")
    assert torch.equal(outputs(model, x)[0], outputs(rebuilt, x)[0])
    (tmp_path / "config.json").unlink()
    with pytest.raises(LearngeneError, match="expected the folder, with its config.json|like"):
        load_ancestry(tmp_path / "model.safetensors")
