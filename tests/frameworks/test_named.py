"""What cannot be read is named: the module, what it is, and what to do."""

import copy
import json
import warnings
from functools import partial

import pytest
import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, prune

from mmlearngene import LearngeneError, cli, load_ancestry

from ..support.tiny_models import hugging_face
from ..support.zoo import shaken

SIZES = dict(img_size=16, patch_size=4, embed_dim=16, depth=3, num_heads=2, num_classes=3)


class LoRA(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        self.lora_A, self.lora_B = nn.Linear(16, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


def vit(**fields):
    return VisionTransformer(**SIZES, **fields)


def lora():
    model = vit()
    model.blocks[1].attn.qkv = LoRA(model.blocks[1].attn.qkv)
    return model


def pruned():
    prune.l1_unstructured((model := vit()).blocks[1].mlp.fc1, "weight", amount=0.5)
    return model


def quantised():
    return torch.ao.quantization.quantize_dynamic(vit(), {nn.Linear}, dtype=torch.qint8)


def parametrised():
    parametrizations.weight_norm((model := vit()).blocks[1].mlp.fc1)
    return model


def integers():
    model = vit()
    fc1 = model.blocks[1].mlp.fc1
    fc1.weight = nn.Parameter(fc1.weight.to(torch.int8), requires_grad=False)
    return model


def tied():
    model = vit()
    model.blocks[2] = model.blocks[1]
    return model


def wrapped():
    (model := vit()).blocks[1] = checkpoint_wrapper(vit().blocks[1])
    return model


def other_rotation():
    model = Eva(**SIZES, use_rot_pos_emb=True)
    model.blocks[1].attn.rotate_half = True
    return model


ODD = {
    lora: "blocks.1.attn.qkv is LoRA; merge it first",
    pruned: "blocks.1.mlp.fc1 is pruned; make it permanent first",
    quantised: r"blocks.0.attn.qkv is quantised; take the weights from before",
    parametrised: "blocks.1.mlp.fc1 is parametrised; remove it first",
    integers: r"blocks.1.mlp.fc1.weight is quantised \(torch.int8\)",
    tied: "blocks.2.norm1.weight is tied to blocks.1.norm1.weight; give each its own",
    wrapped: r"blocks.1 is wrapped \(CheckpointWrapper\); put the module inside in its place",
    other_rotation: "blocks.1.attn has rotate_half=True instead of False",
    partial(vit, norm_layer=partial(nn.LayerNorm, bias=False)): "LayerNorm without bias is not known here",
}


@pytest.mark.parametrize("make", ODD, ids=lambda make: getattr(make, "__name__", "no bias"))
def test_the_module_of_a_live_model_that_is_odd_is_named(make):
    with pytest.raises(LearngeneError, match=ODD[make]) as error:
        load_ancestry(make())
    assert "\n" not in str(error.value) and "fc1_g" not in str(error.value)


@pytest.mark.parametrize("make", [lora, pruned, parametrised])
def test_and_that_of_a_file(make, tmp_path):
    torch.save(make().state_dict(), tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match=ODD[make]):
        load_ancestry(tmp_path / "vit.pth", like=vit())


def test_a_process_s_part_of_a_sharded_file_is_named(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        state = {name: distribute_tensor(tensor, mesh, [Shard(0)]) for name, tensor in vit().state_dict().items()}
        torch.save(state, tmp_path / "bare.pth")
        torch.save(dict(state_dict=state, epoch=3), tmp_path / "entry.pth")
    finally:
        dist.destroy_process_group()
    for name in ("bare", "entry"):
        with pytest.raises(LearngeneError, match=r"cls_token is one process's part .*\(DTensor\); gather it") as error:
            load_ancestry(tmp_path / f"{name}.pth", like=vit())
        assert "\n" not in str(error.value)


def remote_code(folder):
    told = json.loads((folder / "config.json").read_text())
    told |= dict(model_type="my_vit", auto_map=dict(AutoConfig="mine.Config", AutoModel="mine.ViT"))
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "mine.py").write_text("raise SystemExit('was run')\n")


FOLDERS = {
    remote_code: r"whose code is in its folder \(auto_map\), which is not run here",
    lambda folder: (folder / "adapter_config.json").write_text("{}"): r"has an adapter \(LoRA, ...\); merge it first",
    lambda folder: (folder / "__0_0.distcp").touch(): "is a sharded checkpoint of torch.distributed; join it first",
}


@pytest.mark.parametrize("change", FOLDERS)
def test_and_that_of_a_folder(change, tmp_path, capsys, monkeypatch):
    hugging_face("ViT").save_pretrained(tmp_path)
    change(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("asked whether to run code"))
    with pytest.raises(LearngeneError, match=FOLDERS[change]) as error:
        load_ancestry(tmp_path)
    assert "\n" not in str(error.value) and not capsys.readouterr().out


@pytest.mark.parametrize("name", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_names_of_what_torch_wraps_are_those_inside(name, tmp_path):
    state = vit().state_dict()
    torch.save({key.replace("blocks.1.", f"blocks.1.{name}."): t for key, t in state.items()}, tmp_path / "layer.pth")
    torch.save({f"module.{name}.{key}": tensor for key, tensor in state.items()}, tmp_path / "whole.pth")
    for file in ("layer.pth", "whole.pth"):
        found = load_ancestry(tmp_path / file, like=vit())
        assert torch.equal(found.layers()[1]["fc1.weight"], state["blocks.1.mlp.fc1.weight"])


def test_files_that_are_more_or_less_than_weights_are_named(tmp_path):
    files = {"quantised.pth": r"blocks.0.attn.qkv is quantised; take the weights from before"}
    torch.save(quantised().state_dict(), tmp_path / "quantised.pth")
    files["model-00001-of-00003.safetensors"] = "is one of 3 shards of a model; expected its folder"
    (tmp_path / "model-00001-of-00003.safetensors").touch()
    torch.save({"_fsdp_wrapped_module.flat_param": torch.zeros(9)}, tmp_path / "flat.pth")
    files["flat.pth"] = "is sharded by FSDP; gather its full state dict first"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "script.pt")
    files["script.pt"] = "is TorchScript, which is code; expected the state_dict"
    for file, message in files.items():
        with pytest.raises(LearngeneError, match=message):
            load_ancestry(tmp_path / file, like=vit())


def test_what_is_merged_or_untied_is_read():
    model = pruned()
    prune.remove(model.blocks[1].mlp.fc1, "weight")
    assert (load_ancestry(model).layers()[1]["fc1.weight"] == 0).float().mean() == 0.5
    model = tied()
    model.blocks[2] = copy.deepcopy(model.blocks[2])
    assert load_ancestry(model).spec.num_layers == 3


def test_norms_without_biases_in_a_file_are_not_guessed(tmp_path):
    torch.save(vit(norm_layer=partial(nn.LayerNorm, bias=False)).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match="LayerNorm without bias is not known here"):
        load_ancestry(tmp_path / "vit.pth", like=vit())
    fields = dict(num_heads=2, norm_eps=1e-6, act="gelu", pool="cls", post_norm=False, rope="none")
    with pytest.raises(LearngeneError, match="do not show norm"):
        load_ancestry(tmp_path / "vit.pth", **fields)
    assert load_ancestry(tmp_path / "vit.pth", **fields, norm="rmsnorm").spec.norm == "rmsnorm"


def test_a_layer_scale_that_starts_at_0_is_one():
    model = shaken(hugging_face("DINOv2", layerscale_value=0.0))
    weights = load_ancestry(model)
    assert weights.spec.init_values == 1.0
    assert torch.equal(weights.layers()[0]["ls1.gamma"], model.encoder.layer[0].layer_scale1.lambda1)


NAMES = {
    "vit_base_patch16_224.nonsense": "timm has no weights 'nonsense' of vit_base_patch16_224; expected one of augreg",
    "test_vit4": "timm has no weights of 'test_vit4'; nearest with weights: ",
    "vit_base_patch99": "neither a checkpoint file",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_gives_no_weights_is_one_line(name, tmp_path, capsys):
    command = ["extract", "--method", "first-k", "--ancestry", name, "-o", str(tmp_path / "gene.safetensors")]
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert NAMES[name] in line


def test_weights_that_cannot_be_downloaded_are_one_line(tmp_path, capsys, monkeypatch):
    def create_model(name, pretrained):
        raise OSError("no route to the hub\nand thirty lines more")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(LearngeneError, match="are in no cache and cannot be downloaded .*no route to the hub.*--like"):
        load_ancestry("vit_tiny_patch16_224")
