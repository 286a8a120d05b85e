"""The licence of an ancestry: read from its card or timm's config, passed on, and said once."""

import json

import pytest
import timm
import torch
from huggingface_hub import ModelCard

from mmlearngene import ViTSpec, build, cli, extract, load
from mmlearngene.io import licenses
from mmlearngene.io.licenses import card_fields, license_of, say_terms, terms, with_licenses
from mmlearngene.models import LearngeneDistiller
from mmlearngene.models.teachers import licenses_of_teacher
from mmlearngene.testing import random_weights

SPEC = ViTSpec.parse("h2-l4", head_dim=8, img_size=32, patch_size=16, class_token=True, pool="cls")
TINY = dict(head_dim=8, img_size=32, patch_size=16, num_classes=0)
DINOV3 = "---\nlicense: other\nlicense_name: DINOv3-license\nlicense_link: https://example.com\n---\n\n# DINOv3\n"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(licenses, "_said", set())


@pytest.fixture
def folder(tmp_path):
    """An ancestry as Hugging Face's folder, with a card whose licence binds."""
    folder = tmp_path / "dinov3-tiny"
    build(random_weights(SPEC), "hf").save_pretrained(folder)
    (folder / "README.md").write_text(DINOV3)
    return folder


def front_matter(card) -> dict:
    return ModelCard.load(card).data.to_dict()


@pytest.mark.parametrize(
    "card, expected",
    [
        (DINOV3, "dinov3-license"),
        ("---\nlicense: cc-by-nc-4.0\ntags: [x]\n---\nwords", "cc-by-nc-4.0"),
        ("---\nlicense: [mit, Apache-2.0]\n---\n", "mit and apache-2.0"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: []\n---\n", None),
        ("# A model\n---\nlicense: mit\n---\n", None),  # no front matter
        ("---\nlicense: [1, 2\n---\n", None),  # no YAML
        ("---\n- license\n---\n", None),
        ("", None),
    ],
)
def test_a_card_tells_the_licence(card, expected, tmp_path):
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "model.safetensors").touch()
    assert license_of(tmp_path) == license_of(tmp_path / "model.safetensors") == expected


def test_other_places_tell_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dict(pretrained_cfg=dict(license="CC-BY-NC-4.0"))))
    assert license_of(tmp_path) == "cc-by-nc-4.0"
    assert license_of("vit_small_patch16_dinov3.lvd1689m") == "dinov3-license"
    assert license_of("deit_small_patch16_224") == "apache-2.0"
    assert license_of("no_model") is None and license_of("deit_small_patch16_224.no_tag") is None
    # whose weights a live model has, its class does not tell
    assert license_of(timm.create_model("test_vit")) is None


def test_terms_are_told_where_they_bind():
    assert [terms(name) for name in ("mit", "apache-2.0", "cc-by-4.0")] == [None] * 3
    for name in ("cc-by-nc-4.0", "fair-noncommercial-research-license", "cc-by-nc-sa-4.0", "x-non-commercial"):
        assert terms(name) == "not for commercial use"
    assert terms("apple-amlr") == terms("fair-research-license") == "for research only"
    assert "terms of its own" in terms("nvidia-open-model-license")
    assert card_fields(["mit"]) == dict(license="mit") and card_fields([]) == {}
    assert card_fields(["dinov3-license", "mit"]) == dict(license="other", license_name="dinov3-license and mit")
    assert with_licenses(dict(licenses=["mit"]), [None, "bsd", "mit"]) == dict(licenses=["bsd", "mit"])
    assert with_licenses({}, [None]) == {}


def test_it_goes_from_the_ancestry_into_files_and_cards(folder, tmp_path, caplog):
    gene, out = tmp_path / "gene.safetensors", tmp_path / "vit.safetensors"
    assert cli.main(["extract", "--method", "first-k", "--ancestry", str(folder), "-o", str(gene)]) == 0
    assert load(gene).provenance["licenses"] == ["dinov3-license"]
    (said,) = [line for line in caplog.messages if "licence" in line]
    assert said.startswith("the ancestry's licence is dinov3-license: it has terms of its own")
    assert cli.main(["expand", str(gene), "--arch", "h2-l2", "-o", str(out)]) == 0
    assert len([line for line in caplog.messages if "licence" in line]) == 1  # once in a process
    card = front_matter(f"{out}.md")
    assert (card["license"], card["license_name"]) == ("other", "dinov3-license")
    assert "| terms of dinov3-license | it has terms of its own" in (tmp_path / "vit.safetensors.md").read_text()
    # and on, from what was expanded, whose card is beside it
    again = extract("first-k", out)
    assert again.provenance["licenses"] == ["dinov3-license"]


def test_a_free_licence_is_kept_and_not_said(folder, tmp_path, caplog):
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    learngene = extract("first-k", folder)
    assert learngene.provenance["licenses"] == ["apache-2.0"]
    assert not [line for line in caplog.messages if "licence" in line]
    (folder / "README.md").unlink()
    assert "licenses" not in extract("first-k", folder).provenance


def test_a_checkpoint_is_licensed_as_the_weights_that_its_name_with_a_tag_is_of(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_vit").state_dict(), file)
    assert extract("first-k", file, like="test_vit.r160_in1k").provenance["licenses"] == ["apache-2.0"]
    assert "licenses" not in extract("first-k", file, like="test_vit").provenance


def test_one_that_the_user_gives_goes_into_the_card(folder, tmp_path):
    gene, out = extract("first-k", folder).save(tmp_path / "gene.safetensors"), tmp_path / "vit.safetensors"
    assert cli.main(["expand", str(gene), "--arch", "h2-l2", "--license", "mit", "-o", str(out)]) == 0
    assert front_matter(f"{out}.md")["license"] == "mit"
    assert "| terms of dinov3-license |" in (tmp_path / "vit.safetensors.md").read_text()


def test_say_once(caplog):
    say_terms(["cc-by-nc-4.0", "mit"])
    say_terms(["cc-by-nc-4.0"])
    assert [record.message for record in caplog.records] == [
        "the ancestry's licence is cc-by-nc-4.0: not for commercial use. Learngene and descendants carry it"
    ]


def test_a_distillation_tells_the_licence_of_its_teacher(folder, tmp_path, caplog):
    teacher = dict(type="mmlearngene.HuggingFaceTeacher", folder=str(folder), mean=[0.5] * 3, std=[0.5] * 3)
    learngene = dict(type="mmlearngene.LeTs", learngene="h1-l2", aux="h2-l4", groups=2, rows=1, repeats=2, **TINY)
    distiller = LearngeneDistiller(
        dict(type="mmlearngene.AuxNet", learngene=learngene),
        teacher,
        features=[dict(type="RadioLoss")],
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    )
    assert distiller.provenance["licenses"] == ["dinov3-license"]
    assert len([line for line in caplog.messages if "dinov3-license" in line]) == 1
    cached = dict(type="mmlearngene.CachedTeacher", teacher=teacher)
    assert licenses_of_teacher(cached) == ["dinov3-license"]
    assert licenses_of_teacher(dict(model_name="levit_384", pretrained=True)) == ["apache-2.0"]
    assert licenses_of_teacher(dict(model_name="levit_384", checkpoint=str(tmp_path / "none.pth"))) == [None]
