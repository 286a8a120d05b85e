"""Tokens of teachers and students, and learngenes that are distilled from them without labels."""

import copy
import itertools
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from mmseg.registry import MODELS as SEG_MODELS
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from mmlearngene import LearngeneError, ViTSpec, initialize, load, recipes
from mmlearngene.cli import main
from mmlearngene.datasets import BankAndQueries
from mmlearngene.engine import LearngeneExportHook, SeedHook, SizesValHook
from mmlearngene.frameworks import build, layout_for
from mmlearngene.frameworks.mmpretrain import classifier_cfg
from mmlearngene.models import HuggingFaceTeacher, LearngeneDistiller, TimmTeacher
from mmlearngene.models.feature_loss import (
    LogitsLoss,
    ProteusLoss,
    RadioLoss,
    SimilarityLoss,
    Standardiser,
    TokenPair,
    random_mask,
)
from mmlearngene.models.template import Template
from mmlearngene.registry import MODELS
from mmlearngene.testing import random_weights
from mmlearngene.use import probes
from mmlearngene.use.figures import plot_components
from mmlearngene.use.probes import (
    Judged,
    knn_accuracy,
    labelled_images,
    linear_accuracy,
    linear_predictions,
    mean_iou,
    models_of,
    patch_features,
)
from mmlearngene.use.tokens import Tokens, token_model
from mmlearngene.vit.weights import ViTWeights

from ..support.elastic import Metrics, at_step, extracted, weights_in
from ..support.runners import differing, make_runner, same

ROOT = Path(__file__).parents[2]
VIT = dict(head_dim=8, img_size=16, patch_size=4, num_classes=0)
GENES = {
    "lets": dict(type="mmlearngene.LeTs", learngene="h1-l2", aux="h3-l4", groups=2, rows=1, repeats=2, **VIT),
    "tleg": dict(type="mmlearngene.TLEG", aux="h3-l4", **VIT),
    "sws": dict(type="mmlearngene.SWS", aux="h3-l4", stages=[1, 2, 1], **VIT),
}
UNIFORM = dict(type="UniformSizes", heads=[1, 3], layers=[2, 4])
WIDTH = 20


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> dict:
    """A timm ViT with a class token on 3 x 3 patches, 20 channels wide."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.manual_seed(0)
    fields = dict(embed_dim=WIDTH, depth=2, num_heads=2, img_size=24, num_classes=7)
    model = timm.create_model("vit_small_patch14_dinov2", patch_size=8, **fields)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save(model.state_dict(), path)
    return dict(
        type="mmlearngene.TimmTeacher",
        model_name="vit_small_patch14_dinov2",
        checkpoint=str(path),
        patch_size=8,
        **fields,
    )


def distiller(teacher, features=(dict(type="RadioLoss"),), method="lets", student=None, **options):
    student = student or dict(type="mmlearngene.AuxNet", learngene=copy.deepcopy(GENES[method]), sizes=UNIFORM)
    preprocessor = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=True)
    return LearngeneDistiller(student, teacher, features=features, data_preprocessor=preprocessor, **options)


def images(count=4, side=16):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def tokens(grid, width, count=2):
    return Tokens(torch.randn(count, *grid, width), torch.randn(count, width))


def pair(student, teacher, **fields):
    own = dict(inputs=images(len(student.patches)), grid=student.patches.shape[1:3], see=None, restore=lambda t: t)
    return TokenPair(student, teacher, **{**own, **fields})


# ---------------------------------------------------------------- tokens of models


FEATURES = [{}, dict(pool="norm_avg"), dict(class_token=True, pool="cls"), dict(class_token=True)]


class TestTokens:
    @pytest.mark.parametrize("framework", ["timm", "mmpretrain", "hf"])
    @pytest.mark.parametrize("features", FEATURES, ids=str)
    def test_the_classifier_makes_the_models_logits_of_the_summary(self, framework, features):
        spec = ViTSpec.parse("h2-l2", **{**VIT, "num_classes": 5}, **features)
        try:
            model = layout_for(spec, framework).build(spec).eval()
        except LearngeneError:
            pytest.skip("the framework has no such ViT")
        view = token_model(model)
        found = view(images())
        assert found.patches.shape == (4, 4, 4, 16) and found.summary.shape == (4, 16)
        assert view.has_class_token == spec.class_token and view.num_prefix_tokens == spec.num_prefix_tokens
        if view.classifier is None:
            return
        logits = model(images()) if framework != "hf" else model(images()).logits
        assert torch.allclose(view.classifier(found.summary), logits, atol=1e-5)

    def test_frameworks_agree_on_the_tokens_of_equal_weights(self):
        spec = ViTSpec.parse("h2-l2", **VIT, class_token=True, pool="cls")
        weights = ViTWeights(spec, {name: torch.randn(shape) for name, shape in spec.shapes().items()})
        models = [build(weights, framework) for framework in ("timm", "mmpretrain", "hf")]
        for model in models:
            model.eval()  # which a backbone of mmpretrain does not return
        one, *others = [token_model(model)(images()) for model in models]
        for other in others:
            assert torch.allclose(one.patches, other.patches, atol=1e-4)
            assert torch.allclose(one.summary, other.summary, atol=1e-4)

    def test_patches_are_at_their_place(self):
        """With one layer less than one, tokens are the normed patch embeddings: what is in a patch is in its token."""
        model = VisionTransformer(img_size=16, patch_size=4, embed_dim=8, num_heads=1, depth=1, num_classes=0).eval()
        model.blocks = nn.ModuleList()
        model.blocks.append(nn.Identity())
        x = images()
        found = token_model(model)(x).patches
        embedded = model.patch_embed.proj(x).permute(0, 2, 3, 1) + model.pos_embed[0, 1:].view(4, 4, 8)
        assert torch.allclose(found, model.norm(embedded), atol=1e-6)

    @pytest.mark.parametrize(
        "name, prefix",
        [("vit_small_patch14_reg4_dinov2", 5), ("vit_small_patch16_dinov3", 5), ("vit_base_patch16_siglip_224", 0)],
    )
    def test_timms_foundation_models(self, name, prefix):
        patch = 14 if "14" in name else 16
        model = timm.create_model(name, embed_dim=32, depth=2, num_heads=2, img_size=3 * patch).eval()
        view = token_model(model)
        x = images(side=3 * patch)
        found = view(x)
        assert view.num_prefix_tokens == prefix and found.patches.shape == (4, 3, 3, 32)
        whole = model.forward_features(x)
        assert torch.allclose(found.patches.flatten(1, 2), whole[:, prefix:], atol=1e-5)
        pooled = model.forward_head(whole, pre_logits=True)
        assert torch.allclose(found.summary, whole[:, 0] if prefix else pooled, atol=1e-5)

    def test_a_swin_and_a_grid_that_is_resized(self):
        model = timm.create_model("swin_tiny_patch4_window7_224", embed_dim=8, num_heads=(1, 1, 1, 1), depths=(1,) * 4)
        found = token_model(model.eval())(images(side=224))
        assert found.patches.shape == (4, 7, 7, 64)
        assert found.on_grid((7, 7)) is found
        plane = torch.arange(4.0).view(1, 2, 2, 1)
        resized = Tokens(plane, torch.zeros(1, 1)).on_grid((4, 4)).patches
        assert resized.shape == (1, 4, 4, 1) and resized[0, :, :, 0].mean() == 1.5
        assert resized[0, 0, :, 0].tolist() == [0.0, 0.25, 0.75, 1.0]

    def test_what_gives_no_tokens_is_told(self):
        with pytest.raises(
            LearngeneError, match="tokens of Linear are not known.*timm model with forward_intermediates"
        ):
            token_model(nn.Linear(2, 2))


# ---------------------------------------------------------------- losses


class TestLosses:
    def test_proteus_is_three_mean_squared_errors(self):
        student, teacher = tokens((4, 4), 6), tokens((4, 4), 6)
        masked, seen = tokens((4, 4), 6, count=1), []
        found = ProteusLoss(token=2.0, feature=3.0, patch=5.0)(
            pair(student, teacher, see=lambda x: seen.append(x) or masked)
        )
        token = ((student.summary - teacher.summary) ** 2).mean()
        assert torch.allclose(found["loss_proteus_token"], 2 * token)
        every = sum(((getattr(student, n) - getattr(teacher, n)) ** 2).sum() for n in ("patches", "summary"))
        assert torch.allclose(found["loss_proteus_feature"], 3 * every / (2 * 17 * 6))
        # half of the images, half of their patches; those that the student saw as 0
        (shown,) = seen
        assert len(shown) == 1
        hidden = (shown.unfold(2, 4, 4).unfold(3, 4, 4).abs().sum((1, 4, 5)) == 0)[0]
        assert hidden.sum() == 8
        pixels = hidden.repeat_interleave(4, 0).repeat_interleave(4, 1)
        assert torch.equal(shown[0], images(2)[0] * ~pixels)
        patch = ((masked.patches[0][hidden] - teacher.patches[0][hidden]) ** 2).mean()
        assert torch.allclose(found["loss_proteus_patch"], 5 * patch)

    def test_masks_are_of_the_asked_share_and_differ(self):
        mask = random_mask(50, (4, 6), 0.25, torch.device("cpu"))
        assert mask.shape == (50, 4, 6) and mask.sum((1, 2)).tolist() == [6] * 50
        assert 0.1 < mask.float().mean(0).min() and mask.float().mean(0).max() < 0.5

    def test_radio_is_angle_and_smooth_l1(self):
        student, teacher = tokens((2, 3), 6), tokens((2, 3), 6)
        found = RadioLoss(token=2.0, patch=3.0)(pair(student, teacher))

        def angle(a, b):
            return 1 - ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean()

        gap = (student.patches - teacher.patches).abs()
        smooth = torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean()
        assert torch.allclose(found["loss_radio_token"], 2 * angle(student.summary, teacher.summary))
        expected = 3 * (0.9 * angle(student.patches, teacher.patches) + 0.1 * smooth)
        assert torch.allclose(found["loss_radio_patch"], expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            again = RadioLoss(token=2.0, patch=3.0)(pair(student, teacher))
        assert torch.equal(again["loss_radio_token"], found["loss_radio_token"])

    @pytest.mark.parametrize("count, masked", [(1, 1), (3, 2), (5, 2), (7, 4)])
    def test_proteus_masks_the_nearest_number_of_images(self, count, masked):
        """Half of 3 are 2, as Python rounds; one at least."""
        both, seen = tokens((4, 4), 6, count), []
        see = lambda shown: seen.append(shown) or tokens((4, 4), 6, len(shown))  # noqa: E731
        ProteusLoss()(pair(both, both, see=see))
        assert len(seen[0]) == masked

    def test_a_queue_grows_in_training_alone(self, teacher):
        model = distiller(teacher, [dict(type="SimilarityLoss", queue_size=9)])
        at_step(0)
        for training, filled in ((False, 0), (True, 4), (False, 4), (True, 8), (True, 9)):
            model.train(training)(images(), mode="loss")
            assert model.features[0].filled == filled

    def test_similarity_is_of_patches_within_images_and_of_summaries_to_a_queue(self):
        loss = SimilarityLoss(token=2.0, patch=3.0, tau=0.1, queue_size=5)
        loss.start(type("Teacher", (), dict(width=6)))
        earlier = [tokens((2, 2), 6) for _ in range(2)]
        student, teacher = tokens((2, 2), 6), tokens((2, 2), 6)
        assert set(loss(pair(student, teacher))) == {"loss_similarity_patch"}  # the queue is empty
        for each in (*earlier, teacher):
            loss.observe(each)
        unit = lambda x: x / x.norm(dim=-1, keepdim=True)  # noqa: E731
        queue = torch.cat([unit(teacher.summary), unit(earlier[1].summary), unit(earlier[0].summary)])[:5]
        found = loss(pair(student, teacher))

        def divergence(one, other):  # KL(other || one)
            one, other = (logits.div(0.1).softmax(-1) for logits in (one, other))
            return (other * (other / one).log()).sum(-1).mean()

        token = divergence(unit(student.summary) @ queue.T, unit(teacher.summary) @ queue.T)
        assert torch.allclose(found["loss_similarity_token"], 2 * token, atol=1e-5)
        planes = [unit(t.patches).reshape(2, 4, 6) for t in (student, teacher)]
        patch = divergence(*[plane @ plane.transpose(1, 2) for plane in planes])
        assert torch.allclose(found["loss_similarity_patch"], 3 * patch, atol=1e-5)

    def test_logits_are_the_teachers_classifiers(self, teacher):
        view = TimmTeacher(**{k: v for k, v in teacher.items() if k != "type"}).token_model
        loss = LogitsLoss(weight=2.0, tau=3.0)
        loss.start(view)
        student, target = tokens((2, 2), WIDTH), tokens((2, 2), WIDTH)
        found = loss(pair(student, target, restore=lambda t: t.map(lambda x: 2 * x)))["loss_logits"]
        one, other = ((view.model.head(2 * t.summary) / 3).softmax(-1) for t in (student, target))
        expected = 9 * (other * (other / one).log()).sum() / other.numel()
        assert torch.allclose(found, 2 * expected, atol=1e-5)
        assert not list(loss.parameters())
        without = nn.Sequential()
        with pytest.raises(LearngeneError, match="teacher with a linear classifier, and Sequential has none"):
            loss.start(type("T", (), dict(classifier=None, model=without)))

    def test_standardised_tokens_have_mean_0_and_deviation_1(self):
        standardiser = Standardiser(6)
        seen = [Tokens(*(3 * t + 5 for t in tokens((3, 3), 6, count=8))) for _ in range(4)]
        untouched = standardiser(seen[0])
        assert torch.equal(untouched.patches, seen[0].patches)
        for each in seen:
            standardiser.observe(each)
        for name in ("patches", "summary"):
            whole = torch.cat([getattr(standardiser(each), name) for each in seen]).reshape(-1, 6)
            assert torch.allclose(whole.mean(0), torch.zeros(6), atol=1e-5)
            assert torch.allclose(whole.std(0, correction=0), torch.ones(6), atol=1e-4)
        back = standardiser.restore(standardiser(seen[0]))
        assert torch.allclose(back.patches, seen[0].patches, atol=1e-4)

    @pytest.mark.parametrize(
        "make, message",
        [
            (lambda: ProteusLoss(mask_ratio=0.0), "mask_ratio=0.0 must be above 0"),
            (lambda: SimilarityLoss(tau=0), "tau=0 must be positive"),
        ],
    )
    def test_errors(self, make, message):
        with pytest.raises(LearngeneError, match=message):
            make()


ALL = [
    dict(type="ProteusLoss"),
    dict(type="mmlearngene.RadioLoss"),
    dict(type="SimilarityLoss", queue_size=8),
    dict(type="LogitsLoss", weight=0.5),
]


class TestDistiller:
    def test_losses_add_up_and_are_the_mean_over_the_sizes(self, teacher):
        sizes = dict(type="SandwichSizes", heads=[1, 3], layers=[2, 4])
        student = dict(type="mmlearngene.AuxNet", learngene=GENES["lets"], sizes=sizes)
        model = distiller(
            teacher, [dict(type="RadioLoss"), dict(type="RadioLoss", token=0.0, patch=2.0)], student=student
        ).train()
        step = at_step(3)
        losses = model(images(), mode="loss")
        target = model.teacher.tokens(images(), model.data_preprocessor)
        expected = dict(loss_radio_token=0, loss_radio_patch=0)
        for spec in model.student.sizes.draw(step):
            plain = token_model(build(model.student.learngene.expand(spec), "timm").eval(), class_token=False)
            _, projected = plain(images(), project=True)
            found = RadioLoss()(pair(projected.on_grid((3, 3)), target))
            expected["loss_radio_token"] += found["loss_radio_token"] / 3
            expected["loss_radio_patch"] += 3 * found["loss_radio_patch"] / 3
        for name, value in expected.items():
            assert torch.allclose(losses[name], value, atol=1e-5), name
        total, logged = model.parse_losses(losses)
        assert torch.equal(logged["loss"], total) and torch.isclose(total, sum(losses.values()))

    @pytest.mark.parametrize("standardise", [True, False])
    def test_the_logged_loss_is_the_sum_of_any_losses_and_nan_shows_in_it(self, standardise, teacher):
        """Of tokens alone: what alpha and in_place add is refused beside them."""
        at_step(0)
        kinds = [dict(type=f"{kind}Loss") for kind in ("Proteus", "Radio", "Similarity", "Logits")]
        for chosen in (pick for count in range(1, 5) for pick in itertools.combinations(kinds, count)):
            model = distiller(teacher, chosen, standardise=standardise).train()
            losses = model(images(), mode="loss")
            total, logged = model.parse_losses(losses)
            assert torch.equal(logged["loss"], total) and torch.isclose(total, sum(losses.values()))
            assert all(sum(kind["type"][:-4].lower() in name for name in losses) for kind in chosen)
            for name in losses:
                broken = {**losses, name: torch.tensor(float("nan"))}
                assert model.parse_losses(broken)[1]["loss"].isnan(), (chosen, name)

    def test_no_loss_takes_the_name_of_their_sum(self, teacher, monkeypatch):
        monkeypatch.setattr(RadioLoss, "forward", lambda self, pair: {"loss": pair.student.summary.sum()})
        with pytest.raises(LearngeneError, match="RadioLoss names a loss 'loss'; expected 'loss_' and a word"):
            distiller(teacher)(images(), mode="loss")

    @pytest.mark.parametrize("method", [*GENES, "cluster", "peg"])
    def test_gradients_reach_every_parameter_and_the_teacher_is_untouched(self, method, teacher):
        if method in GENES:
            sizes = UNIFORM if method == "lets" else dict(type="UniformSizes", layers=[2, 4])
            student = dict(type="mmlearngene.AuxNet", learngene=GENES[method], sizes={**sizes, "count": 3})
        else:
            sizes = dict(type="SandwichSizes", heads=[2, 4], layers=[3, 6])
            student = dict(type="mmlearngene.AuxNet", learngene=extracted(method), sizes=sizes)
        model = distiller(teacher, ALL, student=student, standardise=True).train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        at_step(0)
        before = copy.deepcopy(model.teacher.state_dict())
        specs = model.student.sizes.sizes
        if method == "lets":
            model.student.sizes.draw = lambda step: specs  # every size, which together reach every row of the maps
        inputs = images(side=model.student.spec.img_size[0])
        total, logged = model.parse_losses(model(inputs, mode="loss"))
        total.backward()
        assert {name for name in logged if name != "loss"} == {
            "loss_proteus_token", "loss_proteus_feature", "loss_proteus_patch", "loss_radio_token", "loss_radio_patch",
            "loss_similarity_token", "loss_similarity_patch", "loss_logits",
        }  # fmt: skip
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []
        assert all(torch.equal(before[name], t) for name, t in model.teacher.state_dict().items())
        assert not any("teacher" in name for name in model.state_dict()) and not model.teacher.training

    @pytest.mark.parametrize("size", ["h1-l2", "h2-l3", "h3-l4"])
    def test_gradients_reach_what_a_size_uses(self, size, teacher):
        student = dict(
            type="mmlearngene.AuxNet", learngene=GENES["lets"], sizes=dict(type="UniformSizes", sizes=[size])
        )
        model = distiller(teacher, ALL, student=student).train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        at_step(0)
        sum(model(images(), mode="loss").values()).backward()
        for name, parameter in model.student.learngene.learngene.named_parameters():
            assert parameter.grad.abs().sum() > 0, name

    def test_the_projection_follows_the_width_and_is_dropped_from_the_learngene(self, teacher):
        model = distiller(teacher)
        gene = model.student.learngene
        assert [tuple(gene.expand(s).tensors["head.weight"].shape) for s in ("h1-l2", "h3-l4")] == [
            (WIDTH, 8),
            (WIDTH, 24),
        ]
        bare = gene.with_classes(0)
        assert not [name for name in bare.state_dict() if "learngene.head" in name]
        assert bare.aux_spec.num_classes == 0
        spec = bare.target("h2-l3")
        one, other = bare.expand(spec), gene.expand(spec.replace(num_classes=WIDTH))
        assert all(torch.equal(tensor, other.stem()[name]) for name, tensor in one.stem().items())
        for layer, whole in zip(one.layers(), other.layers(), strict=True):
            assert all(torch.equal(tensor, whole[name]) for name, tensor in layer.items())
        classifier = MODELS.build(classifier_cfg(spec.replace(num_classes=9)))
        report = initialize(classifier, bare)
        assert report.share == 1.0 and [n for n, s, _ in report.tensors if s == "random"] == [
            "head.fc.weight",
            "head.fc.bias",
        ]

    @pytest.mark.parametrize("standardise", [False, True])
    def test_mixed_precision_gives_the_same_losses(self, standardise, teacher):
        model = distiller(
            teacher, [loss for loss in ALL if "Logits" not in loss["type"]], standardise=standardise
        ).train()
        at_step(0)
        found = []
        for half in (False, True):
            torch.manual_seed(0)  # equal masks
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                found.append(model(images(), mode="loss"))
        sum(found[1].values()).backward()
        for name, value in found[1].items():
            assert value.dtype == torch.float32 and torch.allclose(value, found[0][name], rtol=0.1, atol=0.02), name

    def test_a_plain_student_is_taught_too(self, teacher):
        cfg = classifier_cfg(ViTSpec.parse("h2-l3", **{**VIT, "num_classes": WIDTH}))
        model = distiller(teacher, student=cfg).train()
        losses = model(images(), mode="loss")
        _, projected = token_model(model.student)(images(), project=True)
        target = model.teacher.tokens(images(), model.data_preprocessor)
        expected = RadioLoss()(pair(projected.on_grid((3, 3)), target))
        assert torch.allclose(losses["loss_radio_patch"], expected["loss_radio_patch"], atol=1e-6)
        with pytest.raises(
            LearngeneError, match="20 channels; expected the student's head to have num_classes=20, not 5"
        ):
            distiller(teacher, student=classifier_cfg(ViTSpec.parse("h2-l3", **{**VIT, "num_classes": 5})))

    def test_predictions_are_features_and_cosines(self, teacher):
        model = distiller(teacher, standardise=True)
        at_step(0)
        model.train()(images(), mode="loss")
        model.eval()
        with torch.no_grad(), model.student.at("h2-l3"):
            samples = model(images(), mode="predict")
            own = model(images())
        plain = token_model(build(model.student.learngene.expand("h2-l3"), "timm").eval(), class_token=False)
        _, projected = plain(images(), project=True)
        target = model.teacher.tokens(images(), model.data_preprocessor)
        restored = model.standardiser.restore(projected).on_grid((3, 3))
        for i, sample in enumerate(samples):
            assert torch.equal(sample.feature, own.summary[i]) and sample.feature.shape == (16,)
            expected = F.cosine_similarity(restored.patches[i], target.patches[i], dim=-1).mean()
            assert sample.cosine["patches"] == pytest.approx(float(expected), abs=1e-5)
            expected = F.cosine_similarity(restored.summary[i], target.summary[i], dim=0)
            assert sample.cosine["summary"] == pytest.approx(float(expected), abs=1e-5)

    def test_mixup_mixes_what_both_see(self, teacher, monkeypatch):
        model = distiller(teacher, mixup=True).train()
        seen = []
        tokens_of = model.teacher.tokens
        monkeypatch.setattr(model.teacher, "tokens", lambda x, p: seen.append(x) or tokens_of(x, p))
        at_step(0)
        torch.manual_seed(3)
        model(images(), mode="loss")
        torch.manual_seed(3)
        share, order = torch.rand(()).item(), torch.randperm(4)
        assert torch.allclose(seen[0], share * images() + (1 - share) * images()[order])
        model.eval()(images(), mode="loss")
        assert torch.equal(seen[1], images())

    def test_resolutions_follow_from_the_step_and_positions_follow_them(self, teacher):
        model = distiller(teacher, resolutions=[8, 16, (12, 20)]).train()
        drawn = set()
        for iteration in range(12):
            at_step(iteration)
            shape = tuple(model._at_resolution(images()).shape[-2:])
            at_step(iteration, seed=0)
            assert tuple(model._at_resolution(images()).shape[-2:]) == shape
            drawn.add(shape)
            if shape == (12, 20):
                losses = model(images(), mode="loss")
                spec = model.student.sizes.draw(at_step(iteration))[0].replace(img_size=shape)
                plain = token_model(build(model.student.learngene.expand(spec), "timm").eval(), class_token=False)
                _, projected = plain(model._at_resolution(images()), project=True)
                target = model.teacher.tokens(images(), model.data_preprocessor)
                expected = RadioLoss()(pair(projected.on_grid((3, 3)), target))["loss_radio_patch"]
                assert torch.allclose(losses["loss_radio_patch"], expected, atol=1e-5)
        assert drawn == {(8, 8), (16, 16), (12, 20)}
        # drawn apart from sizes, with a number of their own in the seed
        sides = [model._at_resolution(images()).shape[-2] for step in range(20) if at_step(step, seed=5)]
        drawn = [np.random.default_rng([5, step, 1]).integers(3) for step in range(20)]
        assert sides == [(8, 16, 12)[number] for number in drawn]
        assert model.eval()._at_resolution(images()).shape[-1] == 16

    def test_logits_are_distilled_at_resolutions_too(self, teacher):
        gene = {**GENES["tleg"], "reg_tokens": 1, "num_classes": 7}  # registers: a template of timm's
        student = dict(type="mmlearngene.AuxNet", learngene=gene)
        model = distiller(teacher, features=(), student=student, resolutions=[(12, 20)]).train()
        at_step(0)
        loss = model(images(), mode="loss")["loss_distill"]
        spec = model.student.spec.replace(img_size=(12, 20))
        logits = build(model.student.learngene.expand(spec)).eval()(model._at_resolution(images()))
        expected = model.distill(logits, model.teacher(images(), model.data_preprocessor))
        assert torch.allclose(loss, expected, atol=1e-5)

    @pytest.mark.parametrize(
        "options, message",
        [
            (dict(alpha=0.5), "needs no labels and no logits: leave out alpha and distill"),
            (dict(distill=dict(tau=2.0)), "leave out alpha and distill"),
            (dict(features=(), alpha=0.5, mixup=True), "mixup=True mixes images without their labels"),
            (dict(features=(), standardise=True), "standardise=True is of the teacher's tokens"),
            (dict(features=[dict(type="mmlearngene.DistillLoss")]), "DistillLoss is no loss of tokens"),
            (
                dict(
                    student=dict(
                        type="mmlearngene.AuxNet",
                        learngene=GENES["lets"],
                        in_place={},
                        sizes=dict(type="SandwichSizes"),
                    )
                ),
                "in_place teaches logits",
            ),
        ],
    )
    def test_options_that_do_not_go_together(self, options, message, teacher):
        if "student" in options:
            options["student"]["sizes"] = dict(type="SandwichSizes", heads=[1, 3], layers=[2, 4])
        with pytest.raises(LearngeneError, match=message):
            distiller(teacher, **options)


# ---------------------------------------------------------------- Hugging Face teachers


class TestHuggingFace:
    def folder(self, path, kind="Dinov2"):
        import transformers

        fields = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8)
        fields |= dict(num_register_tokens=4) if kind == "DINOv3ViT" else {}
        config = getattr(transformers, f"{kind}Config")(**fields, intermediate_size=32)
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(config).eval()
        model.save_pretrained(path)
        return model

    @pytest.mark.parametrize("kind, prefix", [("Dinov2", 1), ("DINOv3ViT", 5), ("SiglipVision", 0), ("CLIPVision", 1)])
    def test_a_folder_is_a_teacher(self, kind, prefix, tmp_path):
        model = self.folder(tmp_path, kind)
        processor = dict(image_mean=[0.2, 0.4, 0.6], image_std=[0.1, 0.2, 0.4], size=dict(height=32, width=32))
        processor["do_center_crop"] = False  # which the processors of some of them do
        if "Vision" in kind:  # of which transformers cannot tell it
            processor["image_processor_type"] = kind.replace("Vision", "ImageProcessor")
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
        teacher = HuggingFaceTeacher(str(tmp_path)).eval()
        assert teacher.input_size == (32, 32) and teacher.token_model.num_prefix_tokens == prefix
        pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
        found = teacher.tokens(pixels, MODELS.build(dict(type="mmpretrain.ClsDataPreprocessor", to_rgb=True)))
        own = (pixels / 255 - torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1)) / torch.tensor([0.1, 0.2, 0.4]).view(3, 1, 1)
        resized = {} if kind.startswith("D") else dict(interpolate_pos_encoding=True)
        out = model(pixel_values=own, **resized)
        if kind == "CLIPVision":
            sequence = model.post_layernorm(out.last_hidden_state)
        else:
            sequence = out.last_hidden_state
        assert torch.allclose(found.patches.flatten(1, 2), sequence[:, prefix:], atol=1e-4)
        assert torch.allclose(found.summary, sequence[:, 0] if prefix else out.pooler_output, atol=1e-4)

    def test_the_size_of_its_images_is_the_crops_unless_one_is_given(self, tmp_path):
        self.folder(tmp_path)
        told = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3, do_center_crop=True)
        told |= dict(size=dict(height=40, width=40), crop_size=dict(height=32, width=32))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
        assert HuggingFaceTeacher(str(tmp_path)).input_size == (32, 32)
        assert HuggingFaceTeacher(str(tmp_path), input_size=48).input_size == (48, 48)
        assert HuggingFaceTeacher(str(tmp_path), input_size=(16, 24)).input_size == (16, 24)

    def test_what_is_missing_is_told(self, tmp_path):
        with pytest.raises(LearngeneError, match="no such file.*config.json"):
            HuggingFaceTeacher(str(tmp_path))
        self.folder(tmp_path)
        with pytest.raises(LearngeneError, match="no preprocessor_config.json.*mean=... and std="):
            HuggingFaceTeacher(str(tmp_path))
        assert HuggingFaceTeacher(str(tmp_path), mean=(0.5,) * 3, std=(0.5,) * 3).input_size == (24, 24)


# ---------------------------------------------------------------- whole runs


class Labelled(torch.utils.data.Dataset):
    """Random images, brighter from class to class."""

    metainfo = dict(classes=("one", "two", "three"))

    def __len__(self):
        return 12

    def __getitem__(self, index):
        image = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(index)) + 3 * (index % 3)
        sample = DataSample().set_gt_label(index % 3)
        sample.set_metainfo(dict(in_bank=index < 6))
        return dict(inputs=image, data_samples=sample)


class Unlabelled(Labelled):
    """The same without labels."""

    def __getitem__(self, index):
        return dict(inputs=super().__getitem__(index)["inputs"], data_samples=DataSample())


def run(teacher, work_dir, features=ALL, **arguments):
    cfg = dict(
        type="mmlearngene.LearngeneDistiller",
        student=dict(type="mmlearngene.AuxNet", learngene=copy.deepcopy(GENES["lets"]), sizes=UNIFORM),
        teacher=teacher,
        features=[dict(loss) for loss in features],
        standardise=True,
    )
    loader = dict(batch_size=4, sampler=dict(type="DefaultSampler", shuffle=True))
    return make_runner(
        cfg,
        work_dir,
        arguments.pop("hooks", [SeedHook(), LearngeneExportHook()]),
        train_dataloader=dict(loader, dataset=Unlabelled()),
        lr=0.01,
        **arguments,
    )


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(teacher, tmp_path):
    run(teacher, tmp_path / "whole", epochs=3).train()
    torch.rand(3), np.random.rand(3)
    again = dict(load_from=str(tmp_path / "whole" / "epoch_1.pth"), resume=True)
    run(teacher, tmp_path / "cut", epochs=3, **again).train()
    whole, cut = (weights_in(tmp_path / name / "epoch_3.pth") for name in ("whole", "cut"))
    assert {"features.2.queue", "standardiser.patches.total"} <= whole.keys()
    assert not differing(whole, cut) and all(tensor.isfinite().all() for tensor in whole.values())
    gene = load(tmp_path / "whole" / "epoch_3.learngene.safetensors")
    assert gene.aux_spec.num_classes == 0 and len(gene.provenance["trained_sizes"]) == 9
    assert gene.provenance["teacher"]["model_name"] == "vit_small_patch14_dinov2" and "features" in gene.provenance
    trained = {name.removeprefix("student.learngene."): t for name, t in whole.items() if "student." in name}
    assert all(torch.equal(tensor, trained[name]) for name, tensor in gene.state_dict().items())
    initialize(build(ViTWeights(gene.target("h2-l3"), {}), "timm"), gene, min_inherited=1.0)


def test_every_size_is_judged_without_training(teacher, tmp_path):
    metrics = Metrics()
    runner = run(
        teacher,
        tmp_path,
        hooks=[SizesValHook(["h1-l2", "h3-l4"]), metrics],
        epochs=1,
        checkpoint=dict(save_best="mean/knn/top1", rule="greater"),
        val_dataloader=dict(batch_size=5, dataset=Labelled(), sampler=dict(type="DefaultSampler", shuffle=False)),
        val_cfg={},
        val_evaluator=[dict(type=f"mmlearngene.{name}") for name in ("TeacherCosine", "KNN", "LinearProbe")],
    )
    runner.train()
    (found,) = metrics.found
    data = [Labelled()[i] for i in range(12)]
    inputs = torch.stack([sample["inputs"] for sample in data])
    labels = np.arange(12) % 3
    model = runner.model.eval()
    for size in ("h1-l2", "h3-l4"):
        with torch.no_grad(), model.student.at(size):
            features = model(inputs).summary.numpy()
            cosines = [sample.cosine["patches"] for sample in model(inputs[6:], mode="predict")]
        expected = linear_accuracy(features[:6], labels[:6], features[6:], labels[6:])
        assert found[f"{size}/linear/top1"] == pytest.approx(expected)
        assert found[f"{size}/knn/top1"] == pytest.approx(
            knn_accuracy(features[:6], labels[:6], features[6:], labels[6:])
        )
        assert found[f"{size}/cosine/patches"] == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found["mean/cosine/patches"] == pytest.approx(
        (found["h1-l2/cosine/patches"] + found["h3-l4/cosine/patches"]) / 2
    )
    assert list(tmp_path.glob("best_mean_knn_top1_epoch_1.pth"))


def _train_in_a_process(rank, world, meeting, teacher, results):
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    torch.manual_seed(0)
    features = [dict(type="RadioLoss"), dict(type="SimilarityLoss", queue_size=32)]
    model = distiller(teacher, features, standardise=True).train()
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(3):
        at_step(step)
        inputs = images(8)[rank::world]
        loss, logged = model.parse_losses(model(inputs, mode="loss"))
        losses.append((loss.item(), logged["loss"].item()))
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            if world > 1 and parameter.grad is not None:
                dist.all_reduce(parameter.grad.div_(world))
        optimizer.step()
    results[world, rank] = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    results[world, rank, "losses"] = losses
    if world > 1:
        dist.destroy_process_group()


def test_two_processes_train_as_one(teacher, tmp_path):
    results = mp.Manager().dict()
    arguments = (2, tmp_path / "meeting", teacher, results)
    mp.start_processes(_train_in_a_process, arguments, nprocs=2, start_method="fork")  # which imports nothing anew
    _train_in_a_process(0, 1, None, teacher, results)
    one, two, other = results[1, 0], results[2, 0], results[2, 1]
    assert same(two, other)
    for (one_loss, logged), (other_loss, others) in zip(results[2, 0, "losses"], results[2, 1, "losses"], strict=True):
        assert logged == others == pytest.approx((one_loss + other_loss) / 2) and one_loss != other_loss
    assert all(loss == logged for loss, logged in results[1, 0, "losses"])
    queue = "features.1.queue"
    assert torch.allclose(*(torch.sort(state.pop(queue)[:, 0]).values for state in (one, two)), atol=1e-5)
    assert all(torch.allclose(tensor, two[name], atol=1e-5) for name, tensor in one.items())


# ---------------------------------------------------------------- probes


def test_the_nearest_vote_by_cosine():
    bank = np.array([[1.0, 0.0], [100.0, 1.0], [0.0, 1.0], [0.1, 9.0], [-1.0, -1.0]])
    labels = np.array([0, 0, 1, 1, 2])
    queries = np.array([[5.0, 0.1], [0.0, 0.01], [-9.0, -8.0], [-1.0, -1.0]])
    assert knn_accuracy(bank, labels, queries, np.array([0, 1, 2, 0]), neighbours=1) == 75
    assert knn_accuracy(bank, labels, queries[:1], np.array([0]), neighbours=99) == 100  # all vote, and the first wins


def test_a_linear_layer_finds_what_is_linear_whatever_the_scale():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 5)) * [1e-3, 1, 1, 1e3, 1]
    labels = (features[:, 0] > 0).astype(int)
    assert linear_accuracy(features[:300], labels[:300], features[300:], labels[300:]) > 95
    noise = generator.integers(0, 2, 400)
    assert linear_accuracy(features[:300], noise[:300], features[300:], noise[300:]) < 70


def test_mean_iou_is_over_the_classes_that_are_there():
    predictions, labels = np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 1, 0])
    assert mean_iou(predictions, labels) == pytest.approx(100 * (1 / 3 + 2 / 3 + 0) / 3)


def test_a_bank_and_queries(tmp_path):
    for split, count in (("bank", 5), ("queries", 3)):
        for number in range(count):
            for kind in ("cat", "dog"):
                (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8)).save(tmp_path / split / kind / f"{number}.png")
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    sets = [dict(type="CustomDataset", data_root=str(tmp_path / s), pipeline=pipeline) for s in ("bank", "queries")]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        found = BankAndQueries([dict(type="mmlearngene.BalancedSubset", dataset=sets[0], share=0.6), sets[1]])
        with pytest.raises(LearngeneError, match="datasets has 1 entries; expected two"):
            BankAndQueries(sets[:1])
    samples = [found[i]["data_samples"] for i in range(len(found))]
    assert [bool(sample.in_bank) for sample in samples] == [True] * 6 + [False] * 6
    assert [int(sample.gt_label) for sample in samples] == [0, 0, 0, 1, 1, 1] * 2


# ---------------------------------------------------------------- configs


CONFIGS = ROOT / "configs" / "dense"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Images in two class folders, and ImageNet's folders of them."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for number in range(4):
            folder = root / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (40, 50, 3), np.uint8)).save(folder / f"{number}.png")
    return root


def tiny_teacher(cfg, folder):
    """The config's teacher, its features as they are, narrow and shallow."""
    if cfg.model.teacher.type.endswith("TimmTeacher"):
        fields = dict(embed_dim=24, depth=2, num_heads=2)
        model = timm.create_model(cfg.model.teacher.model_name, img_size=224, **fields)
        cfg.model.teacher.update(fields, pretrained=False, checkpoint=str(folder / "teacher.pth"))
    else:
        model = MODELS.build({**Config.fromfile(ROOT / cfg.model.teacher.config).model, "_scope_": "mmpretrain"})
        cfg.model.teacher.checkpoint = str(folder / "teacher.pth")
    torch.save(model.state_dict(), folder / "teacher.pth")


@pytest.mark.parametrize("name", ["elastic_dinov2_b", "elastic_dinov3_b", "elastic_cifar10"])
def test_a_config_trains_from_the_command_line(name, photos, tmp_path, monkeypatch, capsys):
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    imagenet = "cifar" not in name
    if imagenet:  # at 224 pixels four tokens of 4 channels a head
        cfg.model.student.learngene.update(head_dim=4, patch_size=112)
        assert cfg.auto_scale_lr.base_batch_size == 4 * cfg.train_dataloader.batch_size == 512
        assert cfg.optim_wrapper.optimizer == dict(type="AdamW", lr=5e-4, weight_decay=0.05)
    tiny_teacher(cfg, tmp_path)
    sizes = cfg.custom_hooks[0].sizes = cfg.custom_hooks[0].sizes[:2]
    cfg.train_dataloader.dataset.data_root = str(photos / "train")
    for which, split in enumerate(("train", "val")):
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            of_split = loader.dataset.datasets[which]
            of_split = of_split if which else of_split.dataset  # the bank is a subset
            pipeline = list(of_split.pipeline)
            if not imagenet:
                pipeline.insert(1, dict(type="Resize", scale=(32, 32)))
            of_split.clear()
            of_split.update(type="CustomDataset", data_root=str(photos / split), pipeline=pipeline)
    if not imagenet:
        cfg.train_dataloader.dataset.pipeline[1] = dict(type="Resize", scale=(32, 32))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
    cfg.merge_from_dict({"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1, "visualizer": None})
    cfg.dump(tmp_path / "cfg.json")  # which is laid out faster than Python
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "cfg.json"), "--work-dir", str(tmp_path / "run")])
    runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")
    gene = load(tmp_path / "run" / "epoch_1.learngene.safetensors")
    assert gene.aux_spec.num_classes == 0
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    tokens = dict(elastic_dinov2_b="a class token, 16 x 16", elastic_dinov3_b="a class token and 4 more, 14 x 14")
    assert f"the teacher gives {tokens.get(name, 'no class token, 4 x 4')} patches" in log
    assert "; it sees " in log and ", mean " in log
    width = 24 if imagenet else 96
    assert f"learngene.safetensors, without its projection to the teacher's {width} channels" in log
    scalars = [
        json.loads(line) for line in next((tmp_path / "run").glob("*/vis_data/scalars.json")).read_text().splitlines()
    ]
    for size in [*sizes, "mean", "worst"]:
        assert 0 <= scalars[-1][f"{size}/knn/top1"] <= 100 and abs(scalars[-1][f"{size}/cosine/patches"]) <= 1
    # a descendant is a backbone of configs/seg and a classifier, by the same file
    out = tmp_path / "vit.safetensors"
    assert (
        main(["expand", str(tmp_path / "run" / "epoch_1.learngene.safetensors"), "--arch", sizes[0], "-o", str(out)])
        == 0
    )
    if imagenet:
        spec = gene.target("h6-l12")
        segmentor = recipes.upernet(spec, num_classes=5, crop_size=(224, 224))["backbone"]
        assert initialize(MODELS.build(segmentor), gene).share > 0.99  # all but the norm of the map
        report = initialize(MODELS.build(classifier_cfg(spec.replace(num_classes=9))), gene)
        assert report.share == 1.0 and report.count("random") == spec.embed_dims * 9 + 9


def test_the_pages_lines_for_a_folder_of_hugging_face_and_photos_without_labels(photos, tmp_path, monkeypatch):
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dinov2-base")
    processor = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.2, 0.2, 0.2], crop_size=dict(height=224, width=224))
    (tmp_path / "dinov2-base" / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "photos").symlink_to(photos / "train")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (text,) = re.findall(r"```python\n(_base_ = .configs/dense.*?)```", (ROOT / "docs/dense.md").read_text(), re.DOTALL)
    tiny = "model['student'] = dict(learngene=dict(head_dim=4, patch_size=112))\ntrain_cfg = dict(max_epochs=1)\n"
    loader = "train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)\nvisualizer = None\n"
    (tmp_path / "my_dense.py").write_text(text + tiny + loader)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "my_dense.py", "--no-validate"])
    runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")
    gene = load("work_dirs/my_dense/epoch_1.learngene.safetensors")
    assert gene.aux_spec.num_classes == 0 and gene.provenance["teacher"]["folder"] == "dinov2-base"
    (model,) = models_of(["work_dirs/my_dense/epoch_1.learngene.safetensors"], ["h6-l8"])
    assert model.mean == pytest.approx((0.485, 0.456, 0.406))  # of the training's own preprocessing
    cfg = Config.fromfile("configs/seg/des_h6_l12_ade20k_linear_tuned.py")
    small = recipes.linear_tuned(gene.target("h6-l12"), num_classes=150, crop_size=(224, 224))
    cfg.model.backbone = small["backbone"]
    cfg.model.decode_head.update(small["decode_head"])
    cfg.model.pop("init_cfg")
    with DefaultScope.overwrite_default_scope("mmseg"):
        assert initialize(SEG_MODELS.build(cfg.model), gene).share > 0.99


def test_the_small_chain_ends_in_a_segmentor():
    cfg = Config.fromfile(CONFIGS / "des_h4_l6_camvid_linear.py")
    gene = MODELS.build(dict(Config.fromfile(CONFIGS / "elastic_cifar10.py").model.student.learngene))
    init = cfg.model.pop("init_cfg")
    chain = Config.fromfile(CONFIGS / "elastic_cifar10.py")
    assert (
        init.checkpoint == f"work_dirs/dense/elastic_cifar10/epoch_{chain.train_cfg.max_epochs}.learngene.safetensors"
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = SEG_MODELS.build(cfg.model)
    assert initialize(model, gene).share > 0.999  # all but the norm of the map
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {type(module).__name__ for module in model.children()} >= {"VisionTransformer", "FCNHead"}
    with torch.no_grad():
        assert model(torch.randn(1, 3, 160, 160), mode="tensor").shape == (1, 11, 20, 20)


# ---------------------------------------------------------------- the tool


def test_the_tool_judges_sizes_of_a_learngene_and_a_trained_vit(photos, tmp_path, monkeypatch, capsys):
    gene = MODELS.build({**GENES["lets"], "num_classes": 0})
    gene.provenance = dict(preprocessing=dict(mean=[0.2, 0.4, 0.6], std=[0.1, 0.2, 0.4]))
    file = gene.save(tmp_path / "gene.learngene.safetensors")
    (model,) = models_of([str(gene.save(tmp_path / "any_name.safetensors"))], ["h1-l2"])  # told by what is in it
    assert model.name == "any_name h1-l2"
    spec = ViTSpec.parse("h2-l2", **VIT)
    torch.save(build(ViTWeights(spec, {}), "timm").state_dict(), tmp_path / "vit.pth")
    found = list(models_of([str(file)], ["h1-l2", "h2-l3"]))
    assert [model.name for model in found] == ["gene h1-l2", "gene h2-l3"]
    assert found[0].mean == pytest.approx((0.2, 0.4, 0.6)) and found[0].std == pytest.approx((0.1, 0.2, 0.4))
    arguments = [
        str(file),
        "--sizes",
        "h1-l2",
        "h2-l3",
        "--bank",
        str(photos / "train"),
        "--queries",
        str(photos / "val"),
    ]
    arguments += [
        "--pictures",
        str(photos / "val"),
        "--figure",
        str(tmp_path / "pca.png"),
        "--out",
        str(tmp_path / "o.json"),
    ]
    monkeypatch.setattr(sys, "argv", ["probe.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools" / "probe.py"), run_name="__main__")
    assert not stopped.value.code
    scores = json.loads((tmp_path / "o.json").read_text())
    assert list(scores) == ["gene h1-l2", "gene h2-l3"] and all(set(s) == {"knn", "linear"} for s in scores.values())
    images, labels = next(labelled_images(photos / "val", found[1], limit=10))
    own = build(gene.expand("h2-l3"), "timm").eval()
    assert torch.allclose(
        found[1].tokens(images).summary, own.forward_head(own.forward_features(images), pre_logits=True), atol=1e-5
    )
    shown = np.asarray(Image.open(sorted((photos / "val").rglob("*.png"))[0]).convert("RGB"))
    assert labels.tolist() == [0, 0, 1, 1] and abs(found[1].shown(images[0]).mean() - shown.mean() / 255) < 0.1
    assert (tmp_path / "pca.png").stat().st_size > 1000 and "gene h2-l3" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["x", "--bank", "."], "--bank needs --queries"),
        (["x"], "nothing to do; expected --bank and --queries"),
        (["x", "--bank", "nowhere", "--queries", "."], "nowhere is no folder"),
    ],
)
def test_what_the_tool_lacks_is_told_in_a_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["probe.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools" / "probe.py"), run_name="__main__")
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_patches_of_a_segmentation_set_are_judged(tmp_path):
    """Images whose colour is the class: a linear layer on patches tells them."""
    for split in ("train", "val"):
        for number in range(3):
            labels = np.random.default_rng([number, split == "val"]).integers(0, 3, (4, 4)).astype(np.uint8)
            for kind, plane in (("img", labels * 100), ("ann", labels)):
                (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
                whole = np.kron(plane, np.ones((8, 8), np.uint8))
                if kind == "ann":
                    whole[:3, :8] = 255  # some pixels are ignored
                Image.fromarray(whole if kind == "ann" else np.stack([whole] * 3, -1)).save(
                    tmp_path / kind / split / f"{number}.png"
                )
    sets = {
        split: dict(
            dataset=dict(
                type="BaseSegDataset", data_root=str(tmp_path), img_suffix=".png",
                metainfo=dict(classes=("a", "b", "c")),
                data_prefix=dict(img_path=f"img/{split}", seg_map_path=f"ann/{split}"),
            )
        )
        for split in ("train", "val")
    }  # fmt: skip
    Config({f"{split}_dataloader": loader for split, loader in sets.items()}).dump(tmp_path / "seg.py")
    gene = MODELS.build({**GENES["lets"], "num_classes": 0})
    (model,) = models_of([str(gene.save(tmp_path / "g.learngene.safetensors"))], ["h3-l4"])
    (bank, labels), (queries, truth) = patch_features(model, tmp_path / "seg.py", limit=9)
    assert bank.shape == (48, 24) and truth.shape == (48,)
    first = np.random.default_rng([0, False]).integers(0, 3, (4, 4))
    assert labels[:16].tolist() == first.flatten().tolist()
    assert (linear_predictions(bank, labels, queries) == truth).mean() > 0.8
    assert len(patch_features(model, tmp_path / "seg.py", limit=2)[1][1]) == 2 * 16  # no more than asked for
    with pytest.raises(LearngeneError, match="has no train_dataloader"):
        (tmp_path / "empty.py").write_text("")
        patch_features(model, tmp_path / "empty.py", limit=1)


class Colours(nn.Module):
    """Tokens that are the mean colour of each quarter of an image."""

    def forward(self, images):
        patches = F.adaptive_avg_pool2d(images, 2).permute(0, 2, 3, 1)
        return Tokens(patches, patches.mean((1, 2)))


def test_models_that_are_judged_see_red_as_the_first_channel_and_no_margin(tmp_path):
    frame = Image.new("RGB", (64, 64), "blue")
    frame.paste("red", (3, 3, 61, 61))
    spec = ViTSpec(1, 1, img_size=56, patch_size=28, num_classes=0)
    model = Judged("colours", spec, Colours(), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for split in ("train", "val"):
        for kind, image in (("img", frame), ("ann", Image.new("L", (64, 64)))):
            (tmp_path / kind / split).mkdir(parents=True)
            image.save(tmp_path / kind / split / "0.png")
    (tmp_path / "cls" / "a").mkdir(parents=True)
    frame.save(tmp_path / "cls" / "a" / "0.png")
    images, _ = next(labelled_images(tmp_path / "cls", model, limit=1))
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 56, 56)
    assert torch.allclose(images, red, atol=0.02)
    dataset = dict(type="BaseSegDataset", data_root=str(tmp_path), img_suffix=".png", metainfo=dict(classes=("a",)))
    loaders = {
        f"{split}_dataloader": dict(
            dataset={**dataset, "data_prefix": dict(img_path=f"img/{split}", seg_map_path=f"ann/{split}")}
        )
        for split in ("train", "val")
    }
    Config(loaders).dump(tmp_path / "seg.py")
    for found, _ in patch_features(model, tmp_path / "seg.py", limit=1):
        assert (found[:, 0] > 0.5).all() and (found[:, 2] < -0.5).all()


def test_a_class_token_is_behind_the_norm_of_what_is_pooled():
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3, global_pool="avg", fc_norm=True
    ).eval()
    nn.init.normal_(model.fc_norm.weight)
    images = torch.randn(2, 3, 8, 8)
    expected = model.fc_norm(model.forward_features(images))
    tokens = token_model(model, class_token=True)(images)
    assert torch.allclose(tokens.summary, expected[:, 0]) and torch.allclose(
        tokens.patches.flatten(1, 2), expected[:, 1:]
    )


def test_a_coarser_grid_sees_every_patch():
    patches = torch.zeros(1, 8, 8, 1)
    patches[0, 0, 0] = 1
    coarse = Tokens(patches, torch.zeros(1, 1)).on_grid((2, 2)).patches
    assert coarse.shape == (1, 2, 2, 1) and coarse[0, 0, 0] > 0


def test_components_of_equal_tokens_have_equal_colours(tmp_path):
    """Another model's tokens that are the first's, rotated, look as the first's do."""
    generator = np.random.default_rng(0)
    tokens = [generator.normal(size=(4, 4, 8)) * np.arange(1, 9) for _ in range(2)]
    turn, _ = np.linalg.qr(generator.normal(size=(8, 8)))
    path = plot_components(
        [np.zeros((8, 8, 3))] * 2, {"one": tokens, "other": [t @ turn for t in tokens]}, tmp_path / "x.png"
    )
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    third = pixels.shape[1] // 3
    # the middles of the second and third column, below the titles
    one, other = (pixels[60:, third * i + third // 2 - 40 : third * i + third // 2 + 40] for i in (1, 2))
    assert one.std() > 20 and np.abs(one - other).mean() < 12


def test_a_template_pools_as_its_spec_says_beside_a_class_token():
    fields = {**VIT, "num_classes": 0, "reg_tokens": 1}  # without a classifier, which only timm's has
    spec = ViTSpec.parse("h2-l2", **fields, class_token=True, pool="avg_norm")
    weights, template = random_weights(spec), Template(spec).train(False)
    summary = template.tokens(template.state_dict(weights), images()).summary
    expected = token_model(build(weights, "timm").eval(), class_token=False)(images()).summary
    assert torch.allclose(summary, expected, atol=1e-5)


def test_patches_of_an_image_that_mmpretrain_pads():
    model = MODELS.build(dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32, patch_size=8))
    model.eval()  # which gives nothing back
    with torch.no_grad():
        tokens = token_model(model)(torch.randn(1, 3, 36, 32))
    assert tokens.patches.shape == (1, 5, 4, 192)


def test_ignored_pixels_have_no_vote():
    labels = np.array([[255, 255, 2, 1], [255, 3, 1, 1], [255, 255, 0, 7], [255, 255, 7, 0]])
    assert probes._majority(labels, (2, 2)).tolist() == [3, 1, 255, 0]
