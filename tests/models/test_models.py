"""The Aux-Net, its distillation, and teachers."""

import copy
import random

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mmlearngene import LearngeneError, ViTSpec, initialize
from mmlearngene.frameworks.mmpretrain import classifier_cfg
from mmlearngene.models import AuxNet, ClassifierTeacher, DistillLoss, TimmTeacher
from mmlearngene.models.teachers import Teacher, build_teacher
from mmlearngene.models.template import _with_drop_path
from mmlearngene.registry import MODELS

from ..support.distillation import GENES, VIT, aux_net, batch, distiller, timm_checkpoint

OWN = dict(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.4))  # of a teacher, on a scale of 0 to 1


def preprocessor(to_rgb):
    """A student's, with a mean and deviation of its own for every channel."""
    settings = dict(mean=[120.0, 110.0, 90.0], std=[60.0, 50.0, 30.0], to_rgb=to_rgb)
    return MODELS.build(dict(type="mmpretrain.ClsDataPreprocessor", **settings))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def plain(model):
    """A plain classifier of the Aux-Net's size, initialised from its learngene."""
    classifier = MODELS.build(classifier_cfg(model.learngene.aux_spec)).eval()
    report = initialize(classifier, model.learngene, min_inherited=1.0)
    assert report.count("random") == 0
    return classifier


class OneChannel(nn.Module):
    """Logits: the mean of one channel."""

    def __init__(self, channel):
        super().__init__()
        self.channel = channel

    def forward(self, inputs):
        return inputs[:, self.channel].mean((1, 2))[:, None]


class TestAuxNet:
    @pytest.mark.parametrize("method", GENES)
    def test_a_plain_descendant_of_its_size_gives_its_logits_bit_for_bit(self, method):
        model = aux_net(method).eval()
        inputs, _ = batch()
        with torch.no_grad():
            assert torch.equal(model(inputs), plain(model)(inputs))
        assert torch.equal(model(inputs), plain(model)(inputs))  # with gradients too

    def test_it_stores_the_learngene_alone(self):
        model = aux_net()
        total = model.learngene.stored_params()["total"]
        assert sum(p.numel() for p in model.parameters()) == total
        assert all(name.startswith("learngene.") for name in model.state_dict())
        assert all(p.is_meta for p in model.template.model.parameters())

    @pytest.mark.parametrize("method", GENES)
    def test_gradients_reach_every_parameter(self, method):
        model = aux_net(method).train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))  # away from biases of 0, whose mixture has no slope
        inputs, samples = batch()
        model(inputs, samples, mode="loss")["loss"].backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_weights_are_expanded_once_in_evaluation_and_at_every_step_in_training(self, monkeypatch):
        model = aux_net()
        calls = []
        expand = model.learngene.expand
        monkeypatch.setattr(model.learngene, "expand", lambda size: calls.append(1) or expand(size))
        inputs, samples = batch()
        with torch.no_grad():
            model.eval()
            for _ in range(3):
                model(inputs)
            assert len(calls) == 1
            before = model(inputs)
            model.learngene.maps.embed.mul_(2)
            assert not torch.equal(model(inputs), before)  # a change in place is seen
            model.eval()
            model.learngene.maps.embed.data.copy_(torch.rand_like(model.learngene.maps.embed))  # as EMA swaps
            model.eval()
            model(inputs)
            assert len(calls) == 3
        model.train()
        for _ in range(2):
            model(inputs, samples, mode="loss")
        assert len(calls) == 5

    def test_in_evaluation_too_the_weights_are_differentiable_where_gradients_are_on(self):
        model = aux_net().eval()
        inputs, samples = batch()
        with torch.no_grad():
            model(inputs)  # which keeps its expansion
        model(inputs, samples, mode="loss")["loss"].backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_drop_path_of_the_template_follows_train_and_eval(self):
        model = aux_net(backbone=dict(drop_path_rate=0.5))
        inputs, _ = batch()
        model.train()
        assert not torch.equal(model(inputs), model(inputs))
        model.eval()
        assert torch.equal(model(inputs), model(inputs))

    def test_the_averaged_copy_computes_with_its_own_coefficients(self):
        model = aux_net()
        average = ExponentialMovingAverage(model, momentum=0.5)
        inputs, _ = batch()
        with torch.no_grad():
            old = model.eval()(inputs)
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            assert torch.equal(average.module.eval()(inputs), old)
            assert not torch.equal(model(inputs), old)
            average.update_parameters(model)  # the first update copies
            average.update_parameters(model)
            assert torch.equal(average.module.eval()(inputs), plain(average.module)(inputs))

    def test_mixed_precision_accumulation_and_clipping(self):
        model = aux_net().train()
        inputs, samples = batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        wrapper = OptimWrapper(optimizer, accumulative_counts=2, clip_grad=dict(max_norm=1e-3))
        before = copy.deepcopy(model.state_dict())
        wrapper.initialize_count_status(model, 0, 2)
        for step in range(2):
            with wrapper.optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(inputs, samples, mode="loss")["loss"]
            wrapper.update_params(loss)
            changed = any(not torch.equal(before[name], p) for name, p in model.state_dict().items())
            assert changed == (step == 1)
        moved = torch.cat([(before[name] - p).flatten() for name, p in model.state_dict().items()])
        assert 0 < moved.norm() <= 1.01e-6  # lr times the clipped norm

    def test_autocast_rounds_the_weights_once(self):
        model = aux_net().eval()
        inputs, _ = batch()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(model(inputs), plain(model)(inputs))

    def test_predictions(self):
        model = aux_net().eval()
        predictions = model(*batch(), mode="predict")
        assert len(predictions) == 4 and predictions[0].pred_score.shape == (5,)


class TestDistillLoss:
    def test_soft_is_deits(self):
        student, teacher = torch.randn(4, 5), torch.randn(4, 5)
        p, q = (F.softmax(x / 2.0, 1) for x in (teacher, student))
        expected = (p * (p.log() - q.log())).sum() * 4
        assert torch.isclose(DistillLoss(tau=2.0)(student, teacher), expected / 20)
        assert torch.isclose(DistillLoss(tau=2.0, reduction="batchmean")(student, teacher), expected / 4)

    def test_hard_is_cross_entropy_with_the_decision(self):
        student, teacher = torch.randn(4, 5), torch.randn(4, 5)
        expected = F.cross_entropy(student, teacher.argmax(1))
        assert torch.equal(DistillLoss("hard")(student, teacher), expected)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (dict(kind="sofd"), "sofd.*Did you mean 'soft'"),
            (dict(tau=0), "tau=0.*positive"),
            (dict(reduction="x"), "reduction"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(LearngeneError, match=message):
            DistillLoss(**arguments)


class TestDistiller:
    def test_loss_is_the_mixture(self, tmp_path):
        model = distiller(tmp_path, alpha=0.25, distill=dict(tau=2.0)).eval()
        inputs, samples = batch()
        losses = model(inputs, samples, mode="loss")
        logits, target = model(inputs), model.teacher(inputs, model.data_preprocessor)
        assert torch.isclose(losses["loss_distill"], 0.25 * DistillLoss(tau=2.0)(logits, target))
        labels = torch.tensor([0, 1, 2, 3])
        assert torch.isclose(losses["head.loss"], 0.75 * F.cross_entropy(logits, labels))
        assert set(distiller(tmp_path)(inputs, samples, mode="loss")) == {"loss_distill"}

    def test_the_teacher_is_frozen_and_outside_the_checkpoint(self, tmp_path):
        model = distiller(tmp_path).train()
        assert not any("teacher" in name for name in model.state_dict())
        assert not any(p.requires_grad for p in model.teacher.parameters()) and not model.teacher.training
        before = copy.deepcopy(model.teacher.state_dict())
        data = dict(inputs=list(torch.randint(0, 255, (4, 3, 16, 16))), data_samples=batch()[1])
        model.train_step(data, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
        assert all(torch.equal(before[name], t) for name, t in model.teacher.state_dict().items())
        assert copy.deepcopy(model).teacher is model.teacher
        assert next(model.double().teacher.parameters()).dtype == torch.float64  # it moves with the student

    def test_student_and_teacher_must_agree_on_classes(self, tmp_path):
        model = distiller(tmp_path)
        model.student = AuxNet({**GENES["tleg"], "num_classes": 7})
        with pytest.raises(LearngeneError, match="5 classes and the student 7"):
            model(*batch(), mode="loss")

    def test_alpha_is_a_share(self, tmp_path):
        with pytest.raises(LearngeneError, match="alpha=2.*nearest is 1"):
            distiller(tmp_path, alpha=2)


class TestTeachers:
    @pytest.mark.parametrize("to_rgb", [True, False])
    def test_timm_sees_rgb_in_its_own_normalisation(self, to_rgb, tmp_path):
        """Every channel has a mean and deviation of its own on both sides, so their order shows."""
        model, checkpoint = timm_checkpoint(tmp_path)
        teacher = TimmTeacher("vit_tiny_patch16_224", checkpoint=checkpoint, img_size=32, num_classes=5).eval()
        teacher.mean.copy_(255 * torch.tensor(OWN["mean"]).view(-1, 1, 1))
        teacher.std.copy_(255 * torch.tensor(OWN["std"]).view(-1, 1, 1))
        bgr = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        inputs = preprocessor(to_rgb)(dict(inputs=bgr))["inputs"]
        # the student's set is BGR on disk; where it does not ask for RGB, its images are in BGR and must be flipped
        rgb = bgr.flip(1) / 255
        expected = model((rgb - torch.tensor(OWN["mean"]).view(3, 1, 1)) / torch.tensor(OWN["std"]).view(3, 1, 1))
        assert torch.allclose(teacher(inputs, preprocessor(to_rgb)), expected, atol=1e-4)

    def test_timms_own_mean_and_deviation_are_taken(self, tmp_path):
        """LeViT is normalised by ImageNet's, ViT by 0.5."""
        _, checkpoint = timm_checkpoint(tmp_path)
        teacher = TimmTeacher("vit_tiny_patch16_224", checkpoint=checkpoint, img_size=32, num_classes=5)
        assert teacher.mean.flatten().tolist() == teacher.std.flatten().tolist() == [127.5] * 3
        torch.save(timm.create_model("levit_128s").state_dict(), tmp_path / "levit.pth")
        teacher = TimmTeacher("levit_128s", checkpoint=str(tmp_path / "levit.pth"))
        assert teacher.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
        assert teacher.std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])

    @pytest.mark.parametrize("channel", [0, 1, 2])
    def test_each_channel_reaches_its_place(self, channel):
        """A teacher that reads one channel; images of one value a channel, in BGR."""
        teacher = Teacher(OneChannel(channel), mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 8.0])
        blue, green, red = 50.0, 100.0, 200.0
        bgr = torch.tensor([blue, green, red]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
        value = [(red - 10) / 2, (green - 20) / 4, (blue - 30) / 8][channel]
        for to_rgb in (True, False):
            inputs = preprocessor(to_rgb)(dict(inputs=bgr))["inputs"]
            assert teacher(inputs, preprocessor(to_rgb)).item() == pytest.approx(value, abs=1e-3)

    def test_images_are_resized_as_a_resizer_of_photos_does(self):
        """Bicubic, with antialias: PIL's own on each channel."""
        teacher = Teacher(nn.Identity(), mean=[0.0] * 3, std=[1.0] * 3, input_size=(10, 14))
        pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 50)).astype(np.float32)
        resized = [np.asarray(Image.fromarray(plane).resize((14, 10), Image.BICUBIC)) for plane in pixels]
        plain = MODELS.build(dict(type="mmpretrain.ClsDataPreprocessor", to_rgb=True))
        found = teacher(torch.from_numpy(pixels)[None], plain)
        assert torch.allclose(found[0], torch.tensor(np.stack(resized)), atol=0.5)
        assert teacher(torch.zeros(1, 3, 10, 14), plain).shape == (1, 3, 10, 14)

    @pytest.mark.parametrize("to_rgb", [True, False])
    @pytest.mark.parametrize("from_file", [True, False])
    def test_mmpretrain_with_a_checkpoint(self, to_rgb, from_file, tmp_path):
        source = aux_net()
        classifier = plain(source)
        torch.save({"state_dict": classifier.state_dict()}, tmp_path / "c.pth")
        own = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 8.0], to_rgb=to_rgb)
        cfg = classifier_cfg(source.learngene.aux_spec)
        if from_file:
            Config(dict(model=cfg, data_preprocessor=own)).dump(tmp_path / "c.py")
            cfg = str(tmp_path / "c.py")
        else:
            cfg["data_preprocessor"] = own
        teacher = ClassifierTeacher(cfg, str(tmp_path / "c.pth"), input_size=16).eval()
        bgr = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
        inputs = preprocessor(True)(dict(inputs=bgr))["inputs"]
        mean, std = (torch.tensor(own[key]).view(3, 1, 1) for key in ("mean", "std"))
        expected = classifier(((bgr.flip(1) if to_rgb else bgr) - mean) / std)
        assert torch.allclose(teacher(inputs, preprocessor(True)), expected, atol=1e-3)

    def test_a_models_own_preprocessor_goes_before_the_files(self, tmp_path):
        cfg = classifier_cfg(aux_net().learngene.aux_spec)
        torch.save({"state_dict": MODELS.build(dict(cfg)).state_dict()}, tmp_path / "c.pth")
        own, files = (dict(mean=[x] * 3, std=[x + 1] * 3, to_rgb=x < 2) for x in (1.0, 7.0))
        Config(dict(model={**cfg, "data_preprocessor": own}, data_preprocessor=files)).dump(tmp_path / "c.py")
        teacher = ClassifierTeacher(str(tmp_path / "c.py"), str(tmp_path / "c.pth"))
        assert teacher.mean.flatten().tolist() == [1.0] * 3 and teacher.std.flatten().tolist() == [2.0] * 3
        assert teacher.rgb

    def test_it_is_frozen_and_uses_up_no_random_number(self, tmp_path):
        _, checkpoint = timm_checkpoint(tmp_path)
        fields = dict(model_name="vit_tiny_patch16_224", checkpoint=checkpoint, img_size=32, num_classes=5)
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
        teacher = build_teacher(dict(type="mmlearngene.TimmTeacher", **fields))
        assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
        assert (np.random.get_state()[1] == states[2]).all()
        assert not teacher.training and not any(parameter.requires_grad for parameter in teacher.parameters())

    def test_errors(self, tmp_path):
        _, checkpoint = timm_checkpoint(tmp_path)
        with pytest.raises(LearngeneError, match="needs weights"):
            TimmTeacher("levit_384")
        with pytest.raises(LearngeneError, match="no model 'levit_385'.*levit_384"):
            TimmTeacher("levit_385", pretrained=True)
        with pytest.raises(LearngeneError, match="does not fit"):
            TimmTeacher("vit_tiny_patch16_224", checkpoint=checkpoint, img_size=32, num_classes=6)
        with pytest.raises(LearngeneError, match="teacher.pth"):
            TimmTeacher("vit_tiny_patch16_224", checkpoint=str(tmp_path / "teacher.pt"), img_size=32)


@pytest.mark.parametrize("frozen", [0, 2])
def test_a_peg_vit_freezes_stages(frozen):
    """Its attention takes the place of the one that the plain ViT has frozen already."""
    backbone = dict(type="mmlearngene.PEGViT", learngene_heads=2, frozen_stages=frozen)
    spec = ViTSpec.parse("h3-l3", **VIT)
    model = MODELS.build(classifier_cfg(spec, backbone=backbone)).backbone
    for number, layer in enumerate(model.layers):
        assert all(parameter.requires_grad != (number < frozen) for parameter in layer.parameters())


# ---------------------------------------------------------------- torch.compile


def test_a_compiled_aux_net_computes_the_same():
    learngene = dict(
        type="LeTs", learngene="h1-l2", aux="h2-l2", groups=1, rows=2, repeats=1,
        head_dim=8, img_size=8, patch_size=4, num_classes=3,
    )  # fmt: skip
    torch.manual_seed(0)
    plain = AuxNet(learngene, head=dict(topk=(1,)), backbone=dict(drop_path_rate=0.0))
    # the backend that traces and differentiates as the default one does, without its minutes of code generation
    compiled = AuxNet(learngene, head=dict(topk=(1,)), compile=dict(backend="aot_eager"))
    compiled.load_state_dict(plain.state_dict())
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for net in (plain, compiled):
        torch.nn.functional.cross_entropy(net.train()(images), labels).backward()
    assert dict(torch._dynamo.utils.counters["stats"])["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    torch.testing.assert_close(compiled(images), plain(images), rtol=0, atol=1e-5)
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-5, msg=name)
    torch.optim.SGD(compiled.parameters(), lr=0.1).step()
    assert not torch.equal(compiled(images), plain(images))  # the weights are inputs, not constants, of the graph
    assert torch.equal(copy.deepcopy(compiled)(images), compiled(images))


def test_many_sizes_are_not_compiled():
    learngene = dict(type="SWS", aux="h1-l4", stages=[2, 2], head_dim=4, img_size=8, patch_size=4, num_classes=3)
    with pytest.raises(LearngeneError, match="compile is for training at one size"):
        AuxNet(learngene, sizes=dict(type="UniformSizes", layers=[2, 4]), compile=True)


def test_drop_path_of_a_timm_template_rises_linearly():
    model = _with_drop_path(timm.create_model("vit_tiny_patch16_224", depth=4), drop_path_rate=0.3)
    rates = [(block.drop_path1.drop_prob, block.drop_path2.drop_prob) for block in model.blocks]
    assert rates == [pytest.approx((rate, rate)) for rate in (0.0, 0.1, 0.2, 0.3)]
