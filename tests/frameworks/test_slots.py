"""The table of a framework in print: each row is a tensor that the framework's own model has."""

import re

import pytest
import torch

from mmlearngene import ViTSpec
from mmlearngene.frameworks import layout_for
from mmlearngene.frameworks.__main__ import as_table, main
from mmlearngene.frameworks.modules import weightless
from mmlearngene.vit.tensors import named_shapes

SPECS = {
    "timm": ("timm", ViTSpec.parse("h3-l4", class_token=True, pool="cls")),
    "timm Swin": ("timm", ViTSpec.parse("h3,6,12,24-l2,2,6,2", embed_dims=96)),
    "timm mixed": (
        "timm", ViTSpec.parse("h3-l4", rope="mixed", pos_embed="none", rope_indexing="xy", qkv_bias="none"),
    ),
    "hf": ("hf", ViTSpec.parse("h3-l4", class_token=True, pool="cls")),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_slots_are_the_parameters_of_the_frameworks_model(name):
    framework, spec = SPECS[name]
    layout = layout_for(spec, framework)
    shapes = {key: tuple(p.shape) for key, p in weightless(lambda: layout.make(spec), buffers=False).named_parameters()}
    slots = [slot for slot in layout.bind(spec) if slot.key]
    dead = {key for key in shapes if layout.is_dead(key.removeprefix(f"{layout.inside}."))}
    assert {slot.key for slot in slots} == shapes.keys() - dead
    for slot in slots:
        if slot.entry.stacked is None and not slot.spare:
            assert slot.stored == shapes[slot.key], slot.key


def test_a_slot_reads_what_it_writes():
    for _, spec in SPECS.values():
        shapes = {(name, layer): shape for name, layer, shape in named_shapes(spec)}
        for slot in layout_for(spec, "timm").bind(spec):
            if slot.entry.stacked is None:
                whole = torch.randn(shapes[slot.name, slot.layer])
                part = whole if slot.share is None else whole[slot.share]
                assert torch.equal(slot.read(slot.write(whole)), part), slot.key


def test_it_is_bound_once():
    spec = SPECS["timm"][1]
    layout = layout_for(spec, "timm")
    assert layout.bind(spec) is layout.bind(spec.replace(num_layers=4))
    assert layout.bind(spec) is not layout.bind(spec, "backbone")


def test_the_table_is_printed(capsys):
    main(["timm", "h6-l12", "class_token=true", "pool=cls"])
    out = capsys.readouterr().out
    row = r"qkv\.weight +ViT +blocks\.\{\}\.attn\.qkv\.weight +qkv head dim width -> \(qkv head dim\) width"
    assert re.search(row, out) and "cls_token" in out and "VisionTransformer" in out


def test_parameters_without_use_have_a_row():
    layout = layout_for(SPECS["hf"][1], "hf")
    assert "dead" in as_table(layout, SPECS["hf"][1])


@pytest.mark.parametrize("argv", [["tim", "h6-l12"], ["timm", "6x12"], ["timm", "h6-l12", "clas_token=true"]])
def test_bad_input_is_one_line(argv, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert len(capsys.readouterr().err.strip().splitlines()) == 2  # usage, and what is wrong
