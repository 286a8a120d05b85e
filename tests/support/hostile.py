"""Hostile files and options, drawn by seed, and what the command line makes of them.

    python -m tests.support.hostile 500

Every case is refused in one line with status 2, in under a second of CPU time, within a gigabyte of memory, and leaves
no file behind. A case that changes a byte without changing what is said must give just what the original gives.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from mmlearngene import ViTSpec, cli, extract
from mmlearngene.frameworks.timm import VIT
from mmlearngene.io.gene import digest
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.sws import SWS
from mmlearngene.learngenes.tleg import TLEG
from mmlearngene.testing import random_weights

from .parity import DATA

GIGABYTE = 2**30
SPEC = ViTSpec(2, 4, head_dim=4, img_size=8, patch_size=4, num_classes=3)
# what no option and no field of a header may be
NO_NUMBER = ["x", "", "\x1b[31mred", [[]], {"a": 1}, float("nan"), float("inf"), -float("inf"), 10**400, -1, -(10**30)]
NO_SIZE = [*NO_NUMBER, 0, 1.5, True, 10**6, 10**12, [10**6], [1] * 5000]
NO_FLAG = ["yes", 2, -1, 1.0, None, [], [True], {"a": {}}, float("nan")]
NO_CHOICE = [
    "",
    "\x1b]0;title\x07",
    "gelu ",
    "GELU",
    3,
    None,
    [],
    ["gelu"],
    {"gelu": 1},
    True,
    float("nan"),
    "a" * 9999,
]
NO_OBJECT = ["x", 3, None, [], [["a", 1]], True, float("nan")]
_NUMBERS = ("head_dim", "mlp_ratio", "patch_size", "in_channels", "embed_dims", "num_heads", "num_layers")


@dataclass
class Case:
    """One call of the command line.

    Attributes:
        name: kind and details, for a failing test.
        argv: the arguments; ``{}`` is the folder that the files are in.
        files: name -> content, or a function that writes it.
        like: a harmless call whose output this one may give as well; None where it must be refused.
    """

    name: str
    argv: list[str]
    files: dict[str, bytes | Callable[[Path], object]]
    like: list[str] | None = None


class Hostile:
    """Draws cases from a few small files.

    Args:
        folder: where the good files are written.
        seed: of the draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        torch.manual_seed(0)
        vit = random_weights(SPEC)
        genes = {
            "lets": LeTs("h1-l2", "h2-l4", groups=2, rows=1, head_dim=4, img_size=8, patch_size=4, num_classes=3),
            "tleg": TLEG(aux=SPEC),
            "sws": SWS(aux=SPEC, stages=[2, 2]),
            "cluster": extract("cluster", vit, distances=[[1.0, 30.0]] * 4),
            "peg": extract("peg", vit),
            **{name: extract(name, vit) for name in ("first-k", "heuristic", "mimetic", "scratch")},
        }
        self.genes = {name: gene.save(folder / f"{name}.learngene.safetensors") for name, gene in genes.items()}
        self.checkpoint = {key: tensor.clone() for key, tensor in VIT.state_dict(vit).items()}
        with np.load(DATA / "lets_official_small.npz") as arrays:
            self.official = {k: torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith("aux_official/")}
        self.kinds = [
            self.bytes_of_a_gene, self.bytes_of_a_checkpoint, self.spec_of_a_header, self.entry_of_a_header,
            self.config_of_a_header, self.header_as_text, self.tensors_of_a_gene, self.tensors_of_a_checkpoint,
            self.tensors_of_a_paper, self.other_checkpoint, self.expand_options, self.extract_options,
            self.import_options, self.json_config,
        ]  # fmt: skip

    def families(self) -> list[Case]:
        """Kinds of which every one is called, as each is its own: what else is in a file than bytes and numbers."""
        root = self.folder
        expand = ["expand", "{}/bad.safetensors", "--arch", "h1-l2", "-o", "{}/out.safetensors"]
        cases = []

        def gene(name: str, method: str, change: Callable[[dict], object]) -> None:
            with safe_open(self.genes[method], framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                header = json.loads(file.metadata()["mmlearngene"])
            change(header)
            cases.append(Case(name, expand, {"bad.safetensors": self.signed(tensors, header)}))

        norm = dict(mean=[0.5], std=[0.5])
        for wrong in (
            dict(crop_pct="x"), dict(crop_pct=None), dict(crop_pct=-1), dict(crop_pct=0), dict(mean="x"), dict(mean=[]),
            dict(mean=None), dict(mean=["x"]), dict(std=[0]), dict(std=[-1.0]), dict(interpolation=3),
            dict(crop_mode=""),
        ):  # fmt: skip
            told = {**norm, **wrong}
            gene(f"preprocessing {wrong}", "lets", lambda h, told=told: h["provenance"].update(preprocessing=told))
        for wrong in ("x", {}, [3], [None], ["h1-l2"] * 100_000, ["h1-l2", "x" * 20_000]):
            name = f"trained sizes {str(wrong)[:30]}"
            gene(name, "lets", lambda h, wrong=wrong: h["provenance"].update(trained_sizes=wrong))
        gene("many distances", "cluster", lambda h: h["config"].update(distances=[[1.0] * 250_000] * 4))
        large = _sparse(self.genes["first-k"])
        cases.append(Case("4 GB of nothing", ["inspect", "{}/bad.safetensors"], {"bad.safetensors": large}))
        cases.append(Case("4 GB of nothing, expanded", expand, {"bad.safetensors": large}))
        cases.append(self.reads_checkpoint("4 GB of nothing, a checkpoint", large, ".safetensors"))
        for length in (10**6, 10**7):
            for suffix in (".pth", ".bin"):
                deep = b"\x80\x02" + b"]" * length + b"a" * (length - 1) + b"."
                cases.append(self.reads_checkpoint(f"{length} lists in lists", deep, suffix))
                cases.append(self.reads_checkpoint(f"{length} in an archive", _zip({"x/data.pkl": deep}, 0), suffix))
        papers = {
            "lets": [key.removeprefix("aux_official/") for key in self.official],
            "tleg": ["patch_embed.proj.weight", "pos_embed", "blocks.block.mlp.fc1.instances.0.bias", "head.weight"],
        }
        papers["sws"] = papers["tleg"]
        for method, names in papers.items():
            argv = ["import", "{}/bad.pth", "--method", method, "-o", "{}/out.safetensors"]
            for tensor in (torch.tensor(1.0), torch.empty(0), torch.ones(1, 0, 0, 0), torch.ones(2)):
                content = {"bad.pth": _torch_bytes(dict.fromkeys(names, tensor))}
                cases.append(Case(f"{method} of {tuple(tensor.shape)}", argv, content))
        for text in (
            "custom_imports=5", "custom_imports=[5]", "custom_imports=dict(imports=5)", "raise SystemExit(0)",
            "raise SystemExit('x')", "import sys; sys.exit(7)", "_base_ = 'c.py'", "_base_ = ['./c.py']", "_base_ = 5",
            "_base_ = 'none.py'", "_base_ = '/dev/null'", "raise RuntimeError",
            "from mmengine.config import read_base\nwith read_base():\n    from .c import *",
        ):  # fmt: skip
            cases.append(Case(f"config {text}", ["inspect", "{}/c.py"], {"c.py": text.encode()}))
        for argv in (["inspect", "a\0b"], [*expand[:-1], "{}/a\0b"], ["probe", "\0"], ["plan", "x", "--arch", "\0"]):
            cases.append(Case(f"NUL {argv}", argv, {"bad.safetensors": self.genes["lets"].read_bytes()}))
        weights = save(
            {f"encoder.layer.{n}.{i}": torch.ones(64) for n in range(2) for i in range(16)}, {"format": "pt"}
        )
        fields = dict(model_type="vit", architectures=["ViTModel"], hidden_size=8, num_hidden_layers=2, patch_size=4)
        fields |= dict(num_attention_heads=2, intermediate_size=16, image_size=8)
        for wrong in (
            dict(num_labels=10**7), dict(num_labels=10**6), dict(num_labels=10**9), dict(num_labels=1e12),
            dict(num_labels="x"), dict(id2label=dict.fromkeys(range(10**5), "x")), dict(id2label=3),
            dict(num_hidden_layers=1000), dict(num_hidden_layers=-1), dict(model_type="bert"), dict(model_type="x"),
            dict(model_type="bert", architectures=["BertModel"]), dict(model_type=None), dict(model_type=[]),
            dict(architectures="ViTModel"), dict(architectures=[3]), dict(architectures=["Trainer"]),
            dict(hidden_size=0), dict(num_attention_heads=0), dict(num_attention_heads=3), dict(patch_size=0),
            dict(image_size=-8),
        ):  # fmt: skip
            content = {"config.json": json.dumps({**fields, **wrong}).encode(), "model.safetensors": weights}
            argv = ["extract", "--method", "first-k", "--ancestry", "{}", "-o", "{}/out.safetensors"]
            cases.append(Case(f"Hugging Face {wrong}", argv, content))
        timm_fields = dict(architecture="vit_tiny_patch16_224", num_classes=3, pretrained_cfg={})
        like = "extract --method first-k --ancestry {}/vit.pth --like {} -o {}/out.safetensors".split()
        for name, config in {
            "1,000 layers of Hugging Face": {**fields, "num_hidden_layers": 1000},
            "1,000 layers of timm": {**timm_fields, "model_args": dict(depth=1000)},
            "10^9 layers of timm": {**timm_fields, "model_args": dict(depth=10**9)},
            "10^7 labels": {**fields, "num_labels": 10**7},
            "10^6 labels": {**fields, "num_labels": 10**6},
            "10^9 classes of timm": {**timm_fields, "num_classes": 10**9},
        }.items():
            content = {"config.json": json.dumps(config).encode(), "vit.pth": _torch_bytes(self.checkpoint)}
            cases.append(Case(f"like {name}", like, content))
        for wrong in (
            dict(num_classes=10**9), dict(model_args=dict(depth=1000)), dict(num_classes=10**7),
            dict(num_classes=10**6), dict(model_args=dict(embed_dim=65536, num_heads=1024)),
            dict(model_args=dict(img_size=32768)),
        ):  # fmt: skip
            content = {"config.json": json.dumps({**timm_fields, **wrong}).encode(), "model.safetensors": weights}
            cases.append(Case(f"timm folder {wrong}", ["extract", *like[1:4], "{}", *like[7:]], content))
        extract_ = [
            "extract",
            "--method",
            "cluster",
            "--ancestry",
            "{}/vit.pth",
            "--data",
            "{}",
            "-o",
            "{}/out.safetensors",
        ]
        extract_ += [word for pair in self.told().items() for word in ("--option", f"{pair[0]}={pair[1]}")]
        picture = _png(8, 8)
        for name, content in {
            "a pipe": os.mkfifo, "a folder": lambda path: path.mkdir(),
            "a link to nowhere": lambda path: path.symlink_to("no"),
            "10^10 pixels": _png(10**5, 10**5), "4 x 10^18 pixels": _png(2**31 - 1, 2**31 - 1), "no pixels": _png(0, 0),
            "half": picture[:40], "empty": b"", "text": b"hello" * 99,
        }.items():  # fmt: skip
            found = {"vit.pth": _torch_bytes(self.checkpoint), "0.png": content}
            cases.append(Case(f"{name} among images", extract_, found))
            gene_ = str(self.genes["lets"])
            probe = ["probe", gene_, "--pictures", "{}", "--figure", "{}/x.png"]
            cases.append(Case(f"{name} among pictures", probe, {"0.png": content}))
        for name in ("a", "b"):
            (root / "images" / name).mkdir(parents=True, exist_ok=True)
            for number in range(6):
                (root / "images" / name / f"{number}.png").write_bytes(picture)
        folder, gene_ = str(root / "images"), str(self.genes["lets"])
        for words in (
            "--limit 0", "--limit 1", "--limit -3", f"--limit {'9' * 5000}", "--limit x", "--std 0", "--std nan",
            "--std -1", "--mean inf", "--mean 1 2", "--img-size 0", "--img-size -8", "--img-size 9", "--sizes h9-l9",
            "--sizes x", f"--img-size {10**12}", "--sizes h2-l2 h2-l2", "-o {}", "-o x", "-o {}/x.pth",
            "--out /dev/null",
            "-o {}/x.json --figure {}/x.png", "--pictures {}/empty --figure {}/x.png", "--segmentation {}",
            "--segmentation x.py", "--segmentation /dev/null", f"--segmentation {root}/lets.learngene.safetensors",
            f"--pictures {folder} --figure {{}}/x.xyz", f"--pictures {folder} --figure {{}}", f"--pictures {folder}",
        ):  # fmt: skip
            argv = ["probe", gene_, "--bank", folder, "--queries", folder, *words.split()]
            cases.append(Case(f"probe {words[:60]}", argv, {}))
        for bank in ("{}", "{}/empty", "/dev/null", str(root / "images" / "a"), "x"):
            cases.append(Case(f"probe of {bank}", ["probe", gene_, "--bank", bank, "--queries", bank], {}))
        for words in (
            "--batch-size 1000000000000", "--batch-size 0", "--workers 1000000000", "--jobs 1000000000", "--jobs 0",
            "--epochs 1000000000000", "--epochs -1", "--lr nan", "--lr -1", "--lr inf", "--crop-pct nan",
            "--crop-pct 1e-9",
            "--crop-pct 2", "--mean nan", "--std 0", "--std -1",
        ):  # fmt: skip
            argv = ["sweep", gene_, "--data", folder, "-o", "{}/out", *words.split()]
            cases.append(Case(f"sweep {words}", argv, {}))
        return cases

    def draw(self) -> Case:
        return self.random.choice(self.kinds)()

    # ------------------------------------------------------------------ pieces

    def pick(self, values):
        value = self.random.choice(list(values))
        return value() if callable(value) else value

    def gene(self) -> tuple[str, dict[str, torch.Tensor], dict]:
        """Method, tensors and header of one of the files."""
        method = self.pick(self.genes)
        with safe_open(self.genes[method], framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return method, tensors, json.loads(file.metadata()["mmlearngene"])

    def reads_gene(self, name: str, gene: bytes | Callable) -> Case:
        """Inspect a file, or expand it."""
        expand = ["expand", "{}/bad.safetensors", "--arch", "h1-l2", "-o", "{}/out.safetensors"]
        argv = self.pick([["inspect", "{}/bad.safetensors"], ["inspect", "{}/bad.safetensors", "--json"], expand])
        return Case(name, argv, {"bad.safetensors": gene})

    def reads_checkpoint(self, name: str, content: bytes | Callable, suffix: str) -> Case:
        argv = ["extract", "--method", self.pick(["first-k", "cluster", "peg"]), "--ancestry", f"{{}}/bad{suffix}"]
        argv += [word for pair in self.told().items() for word in ("--option", f"{pair[0]}={pair[1]}")]
        return Case(name, [*argv, "-o", "{}/out.safetensors"], {f"bad{suffix}": content})

    @staticmethod
    def told() -> dict:
        return dict(num_heads=2, act="gelu", norm_eps=1e-6, pool="avg_norm", post_norm="false", rope="none")

    @staticmethod
    def signed(tensors: dict, header: dict) -> bytes:
        """A file whose digest is right."""
        header = json.loads(json.dumps(header))
        with contextlib.suppress(Exception):  # of types that have no digest
            header["sha256"] = digest(tensors, header)
        return save({k: t.contiguous() for k, t in tensors.items()}, {"mmlearngene": json.dumps(header)})

    def changed_bytes(self, data: bytes) -> tuple[str, bytes]:
        """Bytes cut, flipped, drawn anew, doubled, taken out or appended."""
        r, data = self.random, bytearray(data)
        at = r.randrange(len(data)) if r.random() < 0.5 else r.randrange(min(len(data), 600))
        how = r.choice(["cut", "flip", "draw", "double", "drop", "append", "length", "zeros", "swap"])
        if how == "cut":
            del data[at:]
        elif how == "flip":
            for _ in range(r.choice([1, 1, 1, 8, 200])):
                data[r.randrange(len(data)) if r.random() < 0.7 else at] ^= 1 << r.randrange(8)
        elif how == "draw":
            data[at : at + r.choice([1, 4, 300])] = r.randbytes(r.choice([1, 4, 300]))
        elif how == "double":
            data[at:at] = data[at : at + r.choice([1, 8, 500])] or b"x"
        elif how == "drop":
            del data[at : at + r.choice([1, 8, 500])]
        elif how == "append":
            data += r.randbytes(r.choice([1, 8, 4096]))
        elif how == "length":
            data[:8] = r.choice([0, 1, 2**20, 2**31, 2**40, 2**63, 2**64 - 1]).to_bytes(8, "little")
        elif how == "zeros":
            data[at : at + 100] = bytes(len(data[at : at + 100]))
        elif how == "swap":
            other = r.randrange(len(data))
            data[at : at + 16], data[other : other + 16] = data[other : other + 16], data[at : at + 16]
        return f"{how} at {at}", bytes(data)

    def changed_tensors(self, tensors: dict) -> tuple[str, dict]:
        """One tensor of another shape, type or value, gone, renamed, or one too many."""
        r, tensors = self.random, dict(tensors)
        name = r.choice(list(tensors))
        tensor = tensors[name].clone()
        how = r.choice([
            "transpose", "flatten", "more", "fewer", "type", "mixed", "value", "gone", "renamed", "extra", "empty",
            "scalar", "axis", "huge number",
        ])  # fmt: skip
        if how == "transpose":
            name = r.choice([n for n, t in tensors.items() if t.ndim > 1 and t.shape[-1] != t.shape[-2]])
            tensors[name] = tensors[name].transpose(-1, -2).contiguous()
        elif how == "flatten":
            tensors[name] = tensor.flatten() if tensor.ndim > 1 else tensor[:, None]
        elif how == "more":
            tensors[name] = torch.cat([tensor, tensor[:1]])
        elif how == "fewer":
            tensors[name] = tensor[:-1]
        elif how == "type":
            dtype = r.choice([
                torch.int8, torch.int32, torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn,
                torch.float8_e5m2,
            ])  # fmt: skip
            tensors = {n: t.to(dtype) for n, t in tensors.items()} if r.random() < 0.5 else tensors
            tensors[name] = tensor.to(dtype)
        elif how == "mixed":
            tensors[name] = tensor.to(r.choice([torch.float16, torch.bfloat16, torch.float64]))
        elif how == "value":
            tensor.flatten()[r.randrange(tensor.numel())] = r.choice([float("nan"), float("inf"), -float("inf")])
            tensors[name] = tensor
        elif how == "gone":
            del tensors[name]
        elif how == "renamed":
            del tensors[name]
            tensors[r.choice([name.upper(), f" {name}", f"{name}\x1b[2J", f"{name}é", f"x.{name}", "a" * 70000])] = (
                tensor
            )
        elif how == "extra":
            key = r.choice(
                ["x", "", "\x1b[31mred", "blocks.4.norm1.weight", "learngene.norm3.weight", "maps.more", "."]
            )
            tensors[key] = torch.ones(3)
        elif how == "empty":
            tensors[name] = torch.empty(0, *tensor.shape[1:])
        elif how == "scalar":
            tensors[name] = torch.tensor(1.0)
        elif how == "axis":
            tensors[name] = tensor[None]
        elif how == "huge number":
            tensors[
                r.choice(["blocks.{}.norm1.weight", "blocks.{}.mlp.fc2.weight"]).format(10 ** r.randrange(5, 30))
            ] = torch.ones(8)
        return f"{how} {name}", tensors

    # ------------------------------------------------------------------ learngene files

    def bytes_of_a_gene(self) -> Case:
        method = self.pick(self.genes)
        how, data = self.changed_bytes(self.genes[method].read_bytes())
        good = ["inspect", str(self.genes[method]), "--json"]
        return Case(
            f"bytes of {method}: {how}", ["inspect", "{}/bad.safetensors", "--json"], {"bad.safetensors": data}, good
        )

    def spec_of_a_header(self) -> Case:
        """A field of one of the two specs; the digest is right."""
        method, tensors, header = self.gene()
        entry = self.pick(["learngene_spec", "aux_spec"])
        field, value = self.wrong_field(header[entry])
        header[entry][field] = value
        return self.reads_gene(f"{method} {entry}.{field}={str(value)[:60]}", self.signed(tensors, header))

    def wrong_field(self, spec: dict) -> tuple[str, object]:
        """A field of a spec and a value that none may have."""
        r = self.random.random()
        if r < 0.35:
            field, values = self.pick(_NUMBERS), NO_SIZE
            if field in ("mlp_ratio",):
                values = [v for v in NO_SIZE if v not in (1.5,)]
            if field == "embed_dims":
                values = NO_SIZE
        elif r < 0.45:
            field, values = (
                self.pick(["img_size", "rope_ref_grid"]),
                [v for v in NO_SIZE if v != [1] * 2] + [[8, 8, 8], [8], []],
            )
        elif r < 0.55:
            field = self.pick(["num_classes", "reg_tokens", "window_size", "attn_pool_num_heads", "learngene_heads"])
            values = [v for v in NO_SIZE if v not in (0, 10**6)] + [10**9]
        elif r < 0.65:
            field, values = self.pick(["norm_eps", "init_values", "rope_temperature", "rope_offset"]), NO_NUMBER[:8]
        elif r < 0.75:
            field, values = self.pick(["class_token", "qk_norm", "pre_norm", "rope_half", "mlp_bias"]), NO_FLAG
        elif r < 0.9:
            field, values = (
                self.pick(["pool", "act", "mlp", "norm", "pos_embed", "qkv_bias", "rope", "rope_indexing"]),
                NO_CHOICE,
            )
        else:
            field = self.pick(["", "colour", "__class__", "self", "\x1b[2J", "depths", "a" * 9999])
            values = [1, None, {}] if field != "depths" else [[], [0], [-4], [10**6], ["x"], 4, [[4]], [5]]
        return field, self.pick(values)

    def entry_of_a_header(self) -> Case:
        """A whole entry of a header of another type, gone, or one too many; the digest is right."""
        method, tensors, header = self.gene()
        key = self.pick([*header, "more", "\x1b[31mred", ""])
        if key in header and self.random.random() < 0.3:
            value = "gone"
            del header[key]
        else:
            wrong = {
                "format": ["2", 2.5, 0, 3, -1, None, [2], {"a": 2}, 10**400, float("nan"), True],
                "method": ["", "let", "LETS", "lets\x1b[2J", 3, None, ["lets"], {}, "a" * 10**5, "cluster-swin"],
                "classes": ["abc", 3, {}, [1, 2], [None], [["a"]], True, [float("nan")]],
                "sha256": ["", "0" * 64, "x" * 64, 3, None, []],
            }
            value = self.pick(wrong.get(key, NO_OBJECT))
            header[key] = value
            if key == "sha256":
                content = save(tensors, {"mmlearngene": json.dumps(header)})
                return self.reads_gene(f"{method} sha256={value}", content)
        if key == "sha256":
            return self.reads_gene(f"{method} sha256 gone", save(tensors, {"mmlearngene": json.dumps(header)}))
        return self.reads_gene(f"{method} {key}={str(value)[:60]}", self.signed(tensors, header))

    def config_of_a_header(self) -> Case:
        """One of the method's options that it cannot be, or that the method does not have; the digest is right."""
        method, tensors, header = self.gene()
        config = header["config"]
        more = ["more", "self", "cls", "aux", "learngene", "", "\x1b[2J", "__init__", "num_heads", "img_size", "vit"]
        key = self.pick([*config, *config, *more])
        if key in more:
            value = self.pick([1, "x", None, [], {}])
            if (key, value) in (("learngene", None), ("aux", None)):
                value = 1
        elif isinstance(config[key], bool):
            value = self.pick([v for v in NO_FLAG])
        elif isinstance(config[key], int):
            value = self.pick([v for v in NO_SIZE if key != "seed" or v not in (0, -1, 10**6, 10**12)])
        elif isinstance(config[key], str):
            value = self.pick(NO_CHOICE)
        elif isinstance(config[key], list):
            value = self.pick([
                "x", 3, {}, {"a": 1}, [], [1.5], ["x"], [[["x"]]], [10**12] * 4, [-1] * 4, [None] * 4, [[0]] * 5000,
                [[0, 0]] * 4, [True], float("nan"), [float("nan")] * 4, [[float("nan")]] * 4, [0] * 10**5,
                [{"a": 0}] * 4, [[{"a": 0}]] * 4, "0123", [[-1]] * 4, [[99]] * 4,
            ])  # fmt: skip
        else:
            value = self.pick([{"a": 1}, [[[]]], "x", float("nan"), {"x": [{}]}])
        config[key] = value
        return self.reads_gene(f"{method} config.{key}={str(value)[:60]}", self.signed(tensors, header))

    def header_as_text(self) -> Case:
        """A header that is no JSON, deeply nested, or long."""
        method, tensors, header = self.gene()
        text = self.pick([
            "", "null", "[]", "3", '"x"', "{", "{}", "\x00", "NaN", '{"format": NaN}', '{"format": 2',
            "[" * 10**5, '{"a":' * 10**5, "[" * 10**5 + "]" * 10**5, '{"format": 2, "config": ' + "[" * 5000,
            lambda: json.dumps({**header, "provenance": {"a": [0] * 3 * 10**6}}),
            lambda: json.dumps({**header, "provenance": {"a": "x" * 17 * 10**6}}),
            lambda: json.dumps({**header, "provenance": {str(i): i for i in range(10**6)}}),
            json.dumps({**header, "provenance": {"a": float("nan")}}),
            json.dumps(header)[:-1] + ', "format": 1}', json.dumps(header)[:-1] + ', "method": {}}',
            '{"format": 2, "format": ' + "9" * 5000 + "}",
            json.dumps({**header, "config": json.loads("[" * 900 + "]" * 900)}),
            json.dumps({**header, "provenance": json.loads('{"a":' * 900 + "1" + "}" * 900)}),
        ])  # fmt: skip
        with contextlib.suppress(Exception):  # with the right digest where there can be one
            fields = json.loads(text)
            fields["sha256"] = digest(tensors, fields)
            text = json.dumps(fields)
        return self.reads_gene(f"{method} header {text[:40]!r} of {len(text)}", save(tensors, {"mmlearngene": text}))

    def tensors_of_a_gene(self) -> Case:
        method, tensors, header = self.gene()
        how, tensors = self.changed_tensors(tensors) if tensors else ("extra", {"x": torch.ones(3)})
        return self.reads_gene(f"{method}: {how}", self.signed(tensors, header))

    # ------------------------------------------------------------------ checkpoints

    def tensors_of_a_checkpoint(self) -> Case:
        how, state = self.changed_tensors(self.checkpoint)
        suffix = self.pick([".pth", ".pt", ".bin", ".safetensors"])
        entry = self.pick([None, "model", "state_dict"])
        if suffix == ".safetensors":
            return self.reads_checkpoint(
                f"checkpoint {suffix}: {how}", save({k: t.contiguous() for k, t in state.items()}), suffix
            )
        content = _torch_bytes({entry: state} if entry else state)
        return self.reads_checkpoint(f"checkpoint {suffix}: {how}", content, suffix)

    def bytes_of_a_checkpoint(self) -> Case:
        suffix = self.pick([".pth", ".npz", ".safetensors"])
        if suffix == ".npz":
            buffer = io.BytesIO()
            np.savez(buffer, **{k: t.numpy() for k, t in self.checkpoint.items()})
            data = buffer.getvalue()
        else:
            data = save(self.checkpoint) if suffix == ".safetensors" else _torch_bytes(self.checkpoint)
        r = self.random
        how = r.choice(
            ["cut", "head", "tail"] if suffix != ".safetensors" else ["cut", "head"]
        )  # weights have no digest
        if how == "cut":
            data = data[: r.randrange(len(data))]
        elif how == "head":
            data = r.randbytes(r.choice([1, 64, 1000])) + data[1000:]
        else:
            data = data[: len(data) - 600] + r.randbytes(r.choice([1, 64, 600]))
        return self.reads_checkpoint(f"bytes of a {suffix}: {how} {len(data)}", data, suffix)

    def tensors_of_a_paper(self) -> Case:
        """A checkpoint of LeTs's released code."""
        how, state = self.changed_tensors(self.official)
        used = [k for k in self.official if "trans_" in k or "__sm_" in k or k.endswith("pos_embed")]
        name = how.partition(" ")[2]
        if (
            how.startswith(("extra", "huge", "renamed", "mixed")) or name not in used
        ):  # which the reader need not look at
            name = self.pick(used)
            state = dict(self.official)
            del state[name]
            how = f"gone {name}"
        argv = ["import", "{}/bad.pth", "--method", "lets", "--head-dim", "8", "-o", "{}/out.safetensors"]
        return Case(f"paper: {how}", argv, {"bad.pth": _torch_bytes({"model": state})})

    def other_checkpoint(self) -> Case:
        """Files that hold no checkpoint, or more than fits a machine."""
        deep: list = []
        for _ in range(100):
            deep = [deep]
        names = {f"blocks.{i}.norm1.weight": torch.ones(1) for i in range(3)}
        huge = {k: t.reshape(-1)[:1].as_strided((10**6, 10**4), (0, 0)) for k, t in self.checkpoint.items()}
        wide = {
            k: t.reshape(-1)[:1].as_strided(_times(t.shape, 8192), (0,) * t.ndim) for k, t in self.checkpoint.items()
        }
        content = self.pick([
            {}, [], None, 3, "x", {"model": {}}, {"model": None}, {"model": 3, "state_dict": []}, {"a": 1}, {1: 2},
            {1: torch.ones(1)}, {None: torch.ones(1), "a": torch.ones(1)}, {("a", 1): torch.ones(2)}, {"model": deep},
            [torch.ones(1)], names, {**self.checkpoint, 7: torch.ones(1)},
            huge, wide, {"model": {"model": self.checkpoint}},
            {**self.checkpoint, "x": torch.ones(2, 2).to_sparse()},
            {k: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8) for k, t in self.checkpoint.items()},
            {k: t.to("meta") for k, t in self.checkpoint.items()},
            {k: t.to_sparse() for k, t in self.checkpoint.items()},
        ])  # fmt: skip
        raw = {
            "empty": b"", "zeros": bytes(1000), "text": b"hello\x1b[31m\n" * 50, "pickle": pickle.dumps({"a": 1}),
            "bomb": pickle.dumps(_Bomb()), "html": b"<!DOCTYPE html><html>", "zip": _zip({}),
            "gzip": b"\x1f\x8b\x08" + bytes(99),
            "long": b"\x80\x02\x8d" + (2**62).to_bytes(8, "little") + b"x",
            "array": b"\x93NUMPY\x01\x00" + b"\xff" * 100,
            "proto": b"\x80\xff.", "stack": b"\x80\x02" + b"(" * 10**5 + b".",
            "memo": b"\x80\x02]q\x00" + b"(h\x00h\x00h\x00l" * 1000 + b".",
            "unpacks": lambda: _zip({"a.npy": _npy_header((2**25,)) + bytes(2**27)}),
            "claims": _zip({"patch_embed.proj.weight.npy": _npy_header((2**40, 2**20))}),
        }  # fmt: skip
        suffix = self.pick([".pth", ".pt", ".bin", ".npz", ".safetensors"])
        if self.random.random() < 0.5:
            name = self.pick(raw)
            content = raw[name]() if callable(raw[name]) else raw[name]
            return self.reads_checkpoint(f"{name} as {suffix}", content, suffix)
        return self.reads_checkpoint(
            f"holds {_words(content)}", _torch_bytes(content), self.pick([".pth", ".pt", ".bin"])
        )

    # ------------------------------------------------------------------ options

    def hostile_text(self) -> str:
        return self.pick([
            "", " ", "x", "-1", "0", "1.5", "NaN", "inf", "1e400", "10" * 20, "9" * 5000, "1" + "0" * 12, "h2-l4x",
            "٣", "h٣-l٤", "²", "\x1b[31mred", "a" * 10**5, "é" * 50, "💥", "\udc80", "[" * 10**5, "null", "true", "{}",
            '{"a": 1}', "[[1]]", "--", "0x10", "1_000", "\n", "a\nb", "\t", "~nobody/x",
        ])  # fmt: skip

    def expand_options(self) -> Case:
        """Of `expand`: sizes, sides, choices and options that no descendant has."""
        method = self.pick(self.genes)
        argv = ["expand", str(self.genes[method]), "--arch", "h2-l2", "-o", "{}/out.safetensors"]
        r = self.random
        flag = r.choice(
            ["--arch", "--img-size", "--patch-size", "--num-classes", "--option", "--head", "--layout", "own"]
        )
        text = self.hostile_text()
        if flag == "--arch":
            argv[3] = r.choice([
                text, f"h{'9' * r.randrange(4, 6000)}-l2", "h0-l2", "h2-l0", "h2-l1000000",
                "h-1-l2", "h2-l2,2", "h2,2,2-l2",
                "h" + ",".join("2" * 3000) + "-l3000", "h2-l" + ",".join("2" * 3000), "h2.5-l2", "h2-l2-", "h２-l2",
                "h65-l2", "h1024-l99999",
            ])  # fmt: skip
        elif flag in ("--img-size", "--patch-size", "--num-classes"):
            wrong = [text, "-4", "-1", "10000000000000", "9" * 4000, "99999999", "1.0", "0x8"]
            argv += [flag, r.choice(wrong + (["7", "0", "32769"] if flag != "--num-classes" else []))]
            if argv[-1].strip().isdecimal() and flag == "--num-classes" and int(argv[-1]) <= 10**7:
                argv[-1] = "-1"
        elif flag == "--option":
            argv += ["--option", r.choice([
                "self=1", "cls=1", "spec=1", "size=1", "head=1", "=1", "a", "a b=1", "__class__=1",
                f"{text}=1", "more=1",
                "learngene=1", "img_size=8", "\x1b[31m=1", "kwargs=1", "options={}", "lambda=1", "None=None",
            ])]  # fmt: skip
        elif flag in ("--head", "--layout"):
            argv += [flag, text]
        else:
            name = r.choice(["rows", "stages", "selection", "unit", "depth", "form", "repeat-correction"])
            wrong = r.choice(
                [text, "-1,-1", "99,99", "0", "0,1,0", "0,x", ",".join("0" * 10**4), "9" * 30 + ",0", "1.5,2"]
            )
            argv += [f"--{name}={wrong}"]
        return Case(f"{method} {argv[2:][:9]}", argv, {})

    def extract_options(self) -> Case:
        r, text = self.random, self.hostile_text()
        self_told = self.told()
        method = r.choice(["first-k", "cluster", "peg", "mimetic", "heuristic", "pre-fin"])
        argv = ["extract", "--method", method, "--ancestry", "{}/vit.pth", "-o", "{}/out.safetensors"]
        flag = r.choice(
            ["told", "own", "own", "method", "ancestry", "like", "--images", "--seed", "--num-heads", "data"]
        )
        if flag == "told":
            name = r.choice(list(self_told))
            self_told[name] = r.choice(
                ["x", "[]", "{}", "NaN", "-1", "\x1b[31m", "null", '{"a": [1]}', "[null]", "1" * 5000]
            )
        elif flag == "own":
            own = {
                "cluster": ["eps", "heads", "ffns", "centroid", "equal_counts", "distances", "data", "preprocessing"],
                "peg": ["heads", "layers", "sampling", "map_init", "projection", "redraw"], "heuristic": ["layers"],
            }.get(method, ["more"])  # fmt: skip
            name = r.choice(own)
            wrong = [
                "x",
                "{}",
                '{"a":1}',
                "NaN",
                "-1",
                "[[[]]]",
                '["x"]',
                "[1.5]",
                "[-1]",
                "[99]",
                "[null]",
                "Infinity",
                '"1"',
            ]
            if name in ("equal_counts", "redraw"):
                wrong += ["2", "1.5"]
            if name in ("heads", "layers", "seed"):
                wrong += ["1e300", "1000000000000", "[1000000000000]"]
            if name == "eps":
                wrong += ["[]", "null", "true"]
            argv += ["--option", f"{name}={r.choice(wrong)}"]
            if method == "cluster" and name != "eps":
                argv += ["--option", "eps=0"]
        elif flag == "method":
            argv[2] = text
        elif flag == "ancestry":
            argv[4] = r.choice([text, "{}", "{}/nothing.pth", "/dev/null", "/", "{}/vit.pth/x", "a" * 300 + ".pth"])
        elif flag == "like":
            argv += [
                "--like",
                r.choice([text, "{}", "{}/nothing.py", "/dev/null", "resnet18", "no_such_model", "{}/vit.pth"]),
            ]
        elif flag == "data":
            argv[2] = "cluster"
            argv += ["--data", r.choice([text, "{}/nothing", "{}/nothing.py", "/dev/null", "{}/vit.pth", "{}/empty"])]
        else:
            argv += [flag, r.choice(["x", "NaN", "1.5", "", "9" * 5000, "null", "[]", "\x1b[31m"])]
            if flag == "--num-heads":
                argv[-1] = r.choice([argv[-1], "-2", "0", "3", "999999999999"])
                self_told.pop("num_heads")
        argv += [word for name, value in self_told.items() for word in ("--option", f"{name}={value}")]
        return Case(f"{method} {flag} {argv[3:]}", argv, {"vit.pth": _torch_bytes(self.checkpoint)})

    def import_options(self) -> Case:
        r, text = self.random, self.hostile_text()
        argv = [
            "import",
            str(DATA / "lets_official_small.npz"),
            "--method",
            "lets",
            "--head-dim",
            "8",
            "-o",
            "{}/out.safetensors",
        ]
        flag = r.choice(["method", "head-dim", "pool", "norm-eps", "option", "other", "output"])
        if flag == "method":
            argv[3] = r.choice([text, "tleg", "sws", "cluster"])
        elif flag == "head-dim":
            argv[5] = r.choice(["x", "0", "-8", "7", "9" * 30, "NaN", "1.5", "", "1000000"])
        elif flag == "pool":
            argv += ["--pool", r.choice(["cls", "map", "mean", "\x1b[31m", "AVG_NORM"])]
        elif flag == "norm-eps":
            argv += ["--norm-eps", r.choice(["nan", "inf", "-inf", "x", "", "1e400", "-1"])]
        elif flag == "option":
            argv += ["--option", r.choice([
                "num_layers=x", "num_layers=-1", "num_layers=1e9", "groups=0", "act=3", "act=[]",
                "self=1", "state={}", "more=1",
                "img_size=NaN", "img_size=-8", "num_classes=x", "mlp_ratio=NaN", "in_channels={}",
                "stages=[]", "learngene=1",
                "aux=h999-l999", "rows=-1", "pool=null", "embed_dims=9999999", "qk_norm=true",
                "class_token=true", "patch_size=0",
            ])]  # fmt: skip
        elif flag == "other":
            argv[1] = r.choice([text, "{}", "/dev/null", "{}/nothing.npz", str(self.genes["lets"])])
        else:
            argv[-1] = r.choice(
                ["", ".", "/", "{}", "/dev/null/x", "/proc/x.safetensors", "{}/" + "a" * 300, "{}/x.pth", "{}/x.npz"]
            )
        return Case(f"import {flag} {argv[2:]}", argv, {})

    def json_config(self) -> Case:
        """A config without code that `inspect` reads."""
        good = dict(type="LeTs", learngene="h1-l2", aux="h2-l4", groups=2, rows=1, head_dim=4, img_size=8, patch_size=4)
        name = self.pick([*good, "more", "self", "num_classes", "width_init", "keep_original"])
        value = self.pick(
            NO_CHOICE if name in ("width_init", "type", "learngene", "aux") else NO_FLAG[:-1] + ["x", {"a": 1}]
        )
        if name in ("more", "self"):
            value = 1
        if name in ("num_classes", "rows", "groups", "head_dim", "img_size", "patch_size"):
            value = self.pick(["x", [], {"a": 1}, -1, 10**12, "\x1b[2J", [None], float("nan")])
        text = json.dumps(dict(model=dict(type="AuxNet", learngene={**good, name: value})))
        text = self.pick(
            [text] * 5 + [text[:-3], "[]", "", "3", '{"a":' * 10**4 + "1" + "}" * 10**4, "{}", '{"model": []}']
        )
        return Case(f"config {text[:120]}", ["inspect", "{}/c.json"], {"c.json": text.encode()})


def _words(content: object) -> str:
    keys = list(content)[:3] if isinstance(content, dict) else content
    return f"{type(content).__name__} {str(keys)[:60]}"


def _times(shape: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(side * factor if side == 8 else side for side in shape)


def _torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _png(width: int, height: int) -> bytes:
    """A grey picture that says it has so many pixels; whether it has is another matter."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    lines = b"".join(bytes(1 + min(width, 8)) for _ in range(min(height, 8)))
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def _sparse(gene: Path) -> Callable[[Path], object]:
    """Writes a learngene with one tensor more, of 4 GB that take no room on a disk."""
    data = gene.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    end = len(data) - 8 - length
    entries["x"] = dict(dtype="F32", shape=[2**30], data_offsets=[end, end + 2**32])
    text = json.dumps(entries).encode()

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text + data[8 + length :])
            file.truncate(8 + len(text) + end + 2**32)

    return write


def _zip(records: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in records.items():
            file.writestr(name, data)
    return buffer.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


class _Bomb:
    """Would end the process when it is unpickled."""

    def __reduce__(self):
        return (sys.exit, (77,))


# ---------------------------------------------------------------------- running them


def call(argv: list[str]) -> tuple[int | None, str, str]:
    """Status, output and errors of a call; a status of None for a traceback, which the errors then hold."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(argv)
        except SystemExit as stop:
            status = stop.code
        except BaseException:  # whatever comes is a finding
            traceback.print_exc()
            status = None
    return status, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def within_a_gigabyte():
    """Let this process have a gigabyte more than it has now."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTE, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def problem(case: Case, folder: Path) -> str | None:
    """What is wrong with the outcome of a case; None if it is as it must be."""
    for name, content in case.files.items():
        if callable(content):
            content(folder / name)
        else:
            (folder / name).write_bytes(content)
    before = sorted(p.name for p in folder.iterdir())
    argv = [word.replace("{}", str(folder)) for word in case.argv]
    start = time.process_time()
    with within_a_gigabyte():
        status, out, err = call(argv)
    seconds = time.process_time() - start
    if seconds > 1:
        return f"took {seconds:.1f} s: {err[-300:]}"
    if status == 0 and case.like is not None:
        wanted = call(case.like)
        own, other = (json.loads(text) for text in (out, wanted[1]))
        for described in (own, other):
            described.pop("file"), described.pop("file_size")
        return None if own == other else "another learngene without a word"
    if status != 2:
        return f"status {status}: {(err or out)[-1500:]}"
    if out or err.count("\n") != 1 or not err.endswith("\n") or not err[:-1].isprintable():
        return f"not one line of plain text: {(out + err)[-600:]!r}"
    if len(err) > 2000:
        return f"a line of {len(err)} characters: {err[:200]}"
    if left := sorted(p.name for p in folder.iterdir() if p.name not in before):
        return f"left behind {left}"
    return None


def main(count: int, seed: int) -> int:
    """Run those of every family and ``count`` drawn cases; print what is wrong, one JSON line each.

    The exit status is the number of findings.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "good").mkdir()
        hostile = Hostile(folder / "good", seed)
        for _ in range(3):  # what is imported late is paid for before
            for argv in (["inspect", str(hostile.genes["cluster"])], ["expand", "x", "--arch", "h1-l1", "-o", "y"]):
                call(argv)
        import mmengine  # noqa: F401
        import mmpretrain.datasets  # noqa: F401
        import scipy.stats  # noqa: F401
        import sklearn.cluster  # noqa: F401
        import transformers

        import mmlearngene.engine.run.sweep  # noqa: F401

        for name in ("ViTModel", "BertModel"):  # which transformers imports when they are asked for
            getattr(transformers, name)

        findings = 0
        cases = [*hostile.families(), *(hostile.draw() for _ in range(count))]
        for number, case in enumerate(cases):
            inside = folder / str(number)
            (inside / "empty").mkdir(parents=True)
            if found := problem(case, inside):
                findings += 1
                print(json.dumps(dict(number=number, case=case.name[:300], found=found)))
            for left in inside.rglob("*.safetensors"):
                left.unlink()  # 4 GB may be no room on this disk, and some on another
        print(f"{len(cases)} cases, {findings} findings", file=sys.stderr)
        return min(findings, 99)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
