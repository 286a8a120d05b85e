"""Files: atomic, checked, and never unpickled into code."""

import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmlearngene import LearngeneError, ViTSpec, __version__, build, load, load_ancestry
from mmlearngene.frameworks.timm import VIT
from mmlearngene.io.atomic import save_folder, save_tensors
from mmlearngene.io.checkpoints import load_state_dict
from mmlearngene.io.gene import digest, write
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.testing import random_weights

from ..support.zoo import images, outputs


@pytest.fixture
def gene():
    return LeTs("h1-l2", "h2-l4", groups=2, rows=1, head_dim=4, img_size=8, patch_size=4, num_classes=3)


@pytest.fixture
def path(gene, tmp_path):
    return gene.save(tmp_path / "gene.safetensors")


def header_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["mmlearngene"])


def rewritten(path, without=None, **changes):
    """The same file with another header."""
    header = {key: value for key, value in {**header_of(path), **changes}.items() if key != without}
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if "sha256" in header and "sha256" not in changes:
        header["sha256"] = digest(tensors, header)
    save_file(tensors, path, {"mmlearngene": json.dumps(header)})
    return path


# ---------------------------------------------------------------- learngene files


def test_the_header_says_what_is_in_the_file(gene, tmp_path):
    gene.provenance = {"ancestry": "deit", "epochs": 3}
    gene.classes = ["a", "b", "c"]
    header = header_of(gene.save(tmp_path / "deep" / "er" / "gene.safetensors"))
    assert header["format"] == 2 and header["method"] == "lets"
    assert header["config"] == gene.config
    assert header["aux_spec"] == gene.aux_spec.asdict() and header["learngene_spec"] == gene.learngene_spec.asdict()
    assert header["classes"] == ["a", "b", "c"]
    assert header["provenance"] == {"ancestry": "deit", "epochs": 3, "package_version": __version__}
    assert header["sha256"] == digest(gene.state_dict(), header) != digest(gene.state_dict())


@pytest.mark.parametrize(
    "told, message",
    [
        (dict(preprocessing=dict(mean=[0.1], std=5)), "preprocessing.std: Input should be a valid list"),
        (dict(preprocessing=dict(mean=[0.1], std=[0.0])), "preprocessing.std.0: Input should be greater than 0"),
        (dict(preprocessing=dict(mean=[float("inf")], std=[1.0])), "Out of range float"),
        (dict(preprocessing=dict(crop_pct=None)), "preprocessing.crop_pct"),
        (dict(preprocessing=3), "preprocessing: Input should be"),
        (dict(trained_sizes=[3]), "trained_sizes.0: Input should be a valid string"),
    ],
)
def test_a_provenance_that_could_not_be_read_is_not_written(told, message, gene, tmp_path):
    gene.provenance = told
    with pytest.raises(ValueError, match=message):
        gene.save(tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("suffix", [".pth", ".bin"])
def test_a_pickle_of_anything_is_not_read(suffix, tmp_path):
    """It could be long to read; torch's earlier format says what it is at once, and is read."""
    (tmp_path / f"x{suffix}").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(LearngeneError, match="cannot be read .*neither a zip archive nor a checkpoint of"):
        load_state_dict(tmp_path / f"x{suffix}")
    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / f"y{suffix}", _use_new_zipfile_serialization=False)
    assert torch.equal(load_state_dict(tmp_path / f"y{suffix}")["a"], state["a"])
    np.savez(tmp_path / "z.npz", a=np.ones(2))
    assert load_state_dict(tmp_path / "z.npz")["a"].sum() == 2


def test_a_folder_takes_the_place_of_another_as_a_whole(tmp_path):
    def fill(folder):
        (folder / "a").write_text("new")

    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "b").write_text("old")
    save_folder(tmp_path / "x", fill)
    assert [(path.name, path.read_text()) for path in (tmp_path / "x").iterdir()] == [("a", "new")]

    def fail(folder):
        fill(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device: '.*x'"):
        save_folder(tmp_path / "x", fail)
    assert os.listdir(tmp_path) == ["x"] and os.listdir(tmp_path / "x") == ["a"]


def test_files_of_equal_content_have_equal_bytes(tmp_path):
    """safetensors writes metadata in an order of chance."""
    metadata = {name: f'"{name}é"\n\t\\\x1b\x7f' for name in "qwertzuiop"}
    tensors = {"b": torch.ones(2), "a": torch.zeros(3, 2)}
    found = {save_tensors(tmp_path / "x.safetensors", tensors, metadata).read_bytes() for _ in range(5)}
    assert len(found) == 1
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == metadata and torch.equal(file.get_tensor("b"), tensors["b"])
        assert torch.equal(file.get_tensor("a"), tensors["a"])
    assert load_file(save_tensors(tmp_path / "y.safetensors", tensors)).keys() == tensors.keys()


def test_a_file_is_as_readable_as_any_other_new_file(path, tmp_path):
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["safetensors.torch.save_file", "os.replace"])
def test_a_failing_save_leaves_the_old_file_and_nothing_else(gene, path, monkeypatch, step):
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(step, fail)
    with torch.no_grad():
        gene.pos_embed.add_(1)
    with pytest.raises(OSError, match="disk full"):
        gene.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_what_a_killed_process_was_writing_is_cleared_by_the_next_write_of_that_name(gene, path):
    left = [path.with_name(f".{path.name}.{end}.tmp") for end in ("file", "folder", "young")]
    other = path.with_name(".other.safetensors.file.tmp")
    left[1].mkdir()
    (left[1] / "new").mkdir()
    for file in (left[0], left[2], other):
        file.write_bytes(b"half")
    for file in (left[0], left[1], other):
        os.utime(file, (0, 0))
    gene.save(path)
    assert sorted(os.listdir(path.parent)) == sorted([path.name, left[2].name, other.name])


def test_shared_tensors_are_written_one_by_one(tmp_path):
    tensor = torch.arange(6.0)
    path = save_tensors(tmp_path / "a.safetensors", {"a": tensor, "b": tensor, "c": tensor.view(2, 3).T}, {"k": "v"})
    found = load_state_dict(path)
    assert torch.equal(found["a"], tensor) and torch.equal(found["b"], tensor)
    assert torch.equal(found["c"], tensor.view(2, 3).T)


def test_the_digest_sees_names_types_shapes_and_numbers():
    tensors = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0, 0, 0, 1.0])},
        {"a": torch.tensor([0.0, 0, 0, -0.0])},
    ]
    assert len({digest(t) for t in tensors}) == len(tensors)
    matrix = torch.arange(6.0).view(2, 3)
    assert digest({"a": matrix.T.contiguous(), "b": matrix}) == digest({"b": matrix, "a": matrix.T})


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(LearngeneError, match="truncated or not a safetensors file"):
        load(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "text.safetensors"
    path.write_text("not a learngene, but long enough to look like something")
    with pytest.raises(LearngeneError, match="truncated or not a safetensors file"):
        load(path)
    config = path.rename(tmp_path / "aux_deit_b.py")
    with pytest.raises(LearngeneError, match="aux_deit_b.py is a config, not a learngene; tools/train.py makes"):
        load(config)


def test_foreign_safetensors_are_refused(tmp_path):
    path = save_tensors(tmp_path / "vit.safetensors", {"a": torch.zeros(2)}, {"format": "pt"})
    with pytest.raises(LearngeneError, match="is a safetensors file but not a learngene"):
        load(path)


def test_any_changed_byte_of_the_data_is_noticed(path):
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    for position in [start, len(data) - 1, *random.Random(0).sample(range(start, len(data)), 5)]:
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(LearngeneError, match="differ from those that were saved"):
            load(path)
    path.write_bytes(data)
    load(path)


def test_a_newer_format_is_refused(path):
    with pytest.raises(LearngeneError, match="has learngene format 3; this version of mmlearngene reads 1 and 2"):
        load(rewritten(path, format=3))


def test_format_1_is_read(gene, path):
    """Its digest covers the tensors alone, and its specs have fewer fields."""
    known = ("num_heads", "num_layers", "head_dim", "mlp_ratio", "patch_size", "img_size", "in_channels")
    known += ("num_classes", "class_token", "pool", "norm_eps", "embed_dims")
    specs = {entry: {name: header_of(path)[entry][name] for name in known} for entry in ("learngene_spec", "aux_spec")}
    again = load(rewritten(path, format=1, sha256=digest(gene.state_dict()), **specs))
    assert again.aux_spec == gene.aux_spec and again.config == gene.config
    assert all(torch.equal(tensor, gene.state_dict()[name]) for name, tensor in again.state_dict().items())
    with pytest.raises(LearngeneError, match="SHA-256"):
        load(rewritten(path, format=1, sha256="0" * 64))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.fill_(float("nan")), "no finite numbers"),
        (lambda t: t.fill_(float("-inf")), "no finite numbers"),
        (lambda t: t.to(torch.int32), "is int32; expected float16, bfloat16, float32, float64"),
        (lambda t: t.to(torch.complex64), "is complex64"),
        (lambda t: t.to(torch.float8_e4m3fn), "is float8_e4m3fn"),
        (lambda t: t.to(torch.bfloat16), "tensors of different types"),
    ],
)
def test_what_is_no_weight_is_refused_wherever_it_is_read(gene, tmp_path, change, message):
    name = "learngene.norm1.weight"
    header = header_of(gene.save(tmp_path / "a.safetensors"))
    state = gene.state_dict()
    state[name] = change(state[name].clone())
    header.pop("sha256")
    with pytest.raises(LearngeneError, match=f"b.safetensors.*{message}"):
        load(write(tmp_path / "b.safetensors", state, header))
    # an ancestry
    vit = random_weights(ViTSpec.parse("h1-l2", head_dim=4, img_size=8, patch_size=4))
    tensors = VIT.state_dict(vit)
    tensors["blocks.1.norm1.weight"] = change(tensors["blocks.1.norm1.weight"].clone())
    torch.save(tensors, tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match=f"vit.pth: timm's VisionTransformer.*{message}"):
        load_ancestry(tmp_path / "vit.pth", like=vit.spec)


# what a file that version 0 wrote computed there, for two images
SWIN_LOGITS = {
    "h1,2,4,8-l1,1,2,1": [[-0.7549657, -3.0680444, 0.6288711], [-0.6427411, -3.435293, 2.0372665]],
    "h1,1,1,1-l1,1,2,1": [[-1.2589605, -1.6379448, 2.8650293], [-0.3141276, -1.9077364, 2.3276343]],
}


@pytest.mark.parametrize("size", SWIN_LOGITS)
def test_a_cluster_swin_of_format_1_computes_what_it_did(size):
    pytest.importorskip("mmpretrain")
    gene = load(Path(__file__).parents[1] / "data" / "cluster_swin_format1.safetensors")
    assert (gene.method, gene.provenance["ancestry"]) == ("cluster", "swin")
    (logits,) = outputs(build(gene.expand(size), "mmpretrain"), images((32, 32)))
    torch.testing.assert_close(logits, torch.tensor(SWIN_LOGITS[size]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", [dict(classes=["x"]), dict(provenance={"epochs": 4}), dict(method="sws")])
def test_a_changed_header_is_noticed(path, change):
    with pytest.raises(LearngeneError, match="header differ from those that were saved|does not fit the method sws"):
        load(rewritten(path, sha256=header_of(path)["sha256"], **change))


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(num_layers=10**6), "num_layers=1000000 is more than 1024"),
        (dict(num_heads=[2] * 5000), "has 5000 entries"),
        (dict(mlp_ratio=float("nan")), "mlp_ratio"),
        (dict(norm_eps="small"), "norm_eps"),
        (dict(num_heads=True), "num_heads"),
        (dict(pool=None), "pool"),
        (dict(img_size=[8, 8, 8]), "img_size"),
        (dict(act={"a": {"b": []}}), "act"),
        (dict(reg_tokens=-1), "reg_tokens"),
        (dict(patch_size=10**9), "patch_size"),
    ],
)
def test_a_spec_of_other_types_or_beyond_bounds_is_refused_before_anything_is_built(path, fields, message):
    spec = {**header_of(path)["aux_spec"], **fields}
    with pytest.raises(LearngeneError, match=message):
        load(rewritten(path, aux_spec=spec))


@pytest.mark.parametrize(
    "change", [dict(config=[]), dict(config=3), dict(classes="abc"), dict(method=["lets"]), dict(more=1)]
)
def test_entries_of_other_types_are_refused(path, change):
    with pytest.raises(LearngeneError, match=f"header is damaged.*{next(iter(change))}"):
        load(rewritten(path, **change))


HEADER = ("format", "method", "config", "learngene_spec", "aux_spec", "sha256", "provenance", "classes")


@pytest.mark.parametrize("key", HEADER)
def test_a_header_without_an_entry_is_damaged(path, key):
    with pytest.raises(LearngeneError, match=f"header is damaged.*{key}"):
        load(rewritten(path, without=key))


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_a_header_that_is_no_header_is_damaged(path, text):
    save_file({"a": torch.zeros(1)}, path, {"mmlearngene": text})
    with pytest.raises(LearngeneError, match="header is damaged"):
        load(path)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(method="let"), "Did you mean 'lets'"),
        (dict(config={"groups": 2, "rows": 1, "repeats": 2, "width": 3}), "width"),
        (dict(config={"groups": 1, "rows": 2, "repeats": 2}), "do not fit the header"),
        (dict(aux_spec={"num_heads": 2, "num_layers": 4, "colour": "red"}), "colour"),
    ],
)
def test_a_header_that_the_tensors_do_not_fit_is_refused(path, changes, message):
    with pytest.raises(LearngeneError, match=message):
        load(rewritten(path, **changes))


def test_a_missing_file_is_named_with_its_nearest_neighbour(path):
    with pytest.raises(LearngeneError, match=rf"no such file: .*gen\.safetensors; did you mean {path}\?"):
        load(path.parent / "gen.safetensors")
    with pytest.raises(LearngeneError, match="no such file: /nowhere/at/all$"):
        load("/nowhere/at/all")
    with pytest.raises(LearngeneError, match="no such file"):
        load(path.parent)


# ---------------------------------------------------------------- other people's files


@pytest.mark.parametrize("entry", ["model", "state_dict", "model_ema", None])
def test_torch_checkpoints_flat_or_with_an_entry(tmp_path, entry):
    state = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    torch.save({entry: state, "epoch": 3} if entry else state, tmp_path / "c.pth")
    found = load_state_dict(tmp_path / "c.pth")
    assert found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)


def test_the_model_goes_before_its_average(tmp_path):
    torch.save({"model_ema": {"a": torch.zeros(2)}, "model": {"a": torch.ones(2)}}, tmp_path / "c.pth")
    assert torch.equal(load_state_dict(tmp_path / "c.pth")["a"], torch.ones(2))


@pytest.mark.parametrize(
    "tensor, message",
    [
        (torch.zeros(1).expand(10**6), "a has 1,000,000 numbers, but they are not all in the file"),
        (torch.eye(3).to_sparse(), "expected a plain tensor"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "expected a plain tensor"),
    ],
)
def test_a_tensor_that_is_not_plain_is_refused(tmp_path, tensor, message):
    torch.save({"a": tensor}, tmp_path / "c.pth")
    with pytest.raises(LearngeneError, match=message):
        load_state_dict(tmp_path / "c.pth")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10**7))
    with pytest.raises(LearngeneError, match="would unpack to 80,000,[0-9]+ bytes"):
        load_state_dict(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "a.npz", a=np.random.default_rng(0).normal(size=100))
    assert load_state_dict(tmp_path / "a.npz")["a"].shape == (100,)


@pytest.mark.parametrize("read", [load, load_state_dict])
def test_a_header_longer_than_any_vits_is_refused_before_it_is_read(tmp_path, read):
    length = 5 * 2**20
    (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + b"{".ljust(length))
    with pytest.raises(LearngeneError, match="its header has 5,242,880 bytes, more than 2,097,152"):
        read(tmp_path / "a.safetensors")


def test_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(3.0))
    assert torch.equal(load_state_dict(tmp_path / "a.npz")["a"], torch.arange(3.0, dtype=torch.float64))


class _Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("name", ["c.pth", "c.npz", "c.pkl"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, name):
    target = tmp_path / "exploded"
    content = {"model": {"a": torch.zeros(2)}, "extra": _Bomb(target)}
    if name == "c.pth":
        torch.save(content, tmp_path / name)
    elif name == "c.npz":
        np.savez(tmp_path / name, extra=np.array([_Bomb(target)], dtype=object))
    else:
        (tmp_path / name).write_bytes(pickle.dumps(content))
    with pytest.raises(LearngeneError, match="cannot be read as safetensors or as a checkpoint of plain tensors"):
        load_state_dict(tmp_path / name)
    assert not target.exists()


def test_the_bomb_would_work_where_pickles_are_trusted(tmp_path):
    pickle.loads(pickle.dumps(_Bomb(tmp_path / "exploded"))).close()
    assert (tmp_path / "exploded").exists()


def test_a_checkpoint_without_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "c.pth")
    with pytest.raises(LearngeneError, match="holds no state dict"):
        load_state_dict(tmp_path / "c.pth")
    torch.save([torch.zeros(2)], tmp_path / "c.pth")
    with pytest.raises(LearngeneError, match="holds no state dict"):
        load_state_dict(tmp_path / "c.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_a_damaged_checkpoint_is_refused(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    path.write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(LearngeneError, match="cannot be read"):
        load_state_dict(path)


def test_a_checkpoint_written_by_mmengines_runner(tmp_path):
    pytest.importorskip("mmengine")
    from mmengine.hooks import CheckpointHook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def forward(self, inputs, mode):
            return dict(loss=self.linear(torch.stack(inputs)).square().mean())

    runner = Runner(
        Model(),
        str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(2))] * 4, batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        custom_hooks=[CheckpointHook(interval=1)],
        experiment_name="files",
        log_level="ERROR",
    )
    runner.train()
    path = tmp_path / "epoch_1.pth"
    raw = torch.load(path, weights_only=False)
    assert {"HistoryBuffer"} == {type(value).__name__ for value in raw["message_hub"]["log_scalars"].values()}
    found = load_state_dict(path)
    state = runner.model.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)
