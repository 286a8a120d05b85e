"""What are features of many sizes worth that one training without labels makes? CIFAR-10, then CamVid.

    python studies/dense_cifar10.py --data ../shared/data --work-dir work_dirs/cifar10

Ancestry, images, schedule and files are those of cifar10.py, in the same work dir. From the ancestry h6-l8 come

* ``tokens``: an elastic LeTs, distilled from the ancestry's tokens (``RadioLoss``), without labels;
* ``tokens-3x``: the same, for three times the epochs;
* ``tokens-started``: the same, beginning with weights of the ancestry;
* ``lets-uniform``, ``lets-uniform-3x``: the same learngene, sizes and epochs, from its logits, as in cifar10.py;
* ``own``: each size distilled from the tokens on its own, for as many images;
* ``weight-selection``: channels and layers of the ancestry, nothing trained;
* ``scratch``: random weights.

The features of each size are judged as they are: 20 nearest neighbours, a linear layer, the cosine to the ancestry.
``seg_*`` puts descendants below a linear head, and h4-l6 below UperNet, trained end to end on CamVid. Every run
leaves a line in the file of the results; what is finished is not done again, and the report is made of this file alone
(``--report``).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import cifar10
import cifar10_runs
import numpy as np
import torch
from cifar10 import with_spread
from cifar10_runs import ANCESTRY, FULL, PRETRAINED, QUICK, Job, spec_of
from common import PackedImages, Results, step_seconds, train
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmlearngene import extract, load, load_ancestry
from mmlearngene.frameworks import build, layout_for
from mmlearngene.models.feature_loss import cosine
from mmlearngene.recipes import linear_tuned, upernet
from mmlearngene.use.probes import knn_accuracy, linear_accuracy
from mmlearngene.use.tokens import TokenModel, token_model
from mmlearngene.utils.tables import markdown
from mmlearngene.vit.spec import ViTSpec

SIZES = ("h3-l4", "h3-l8", "h4-l6", "h5-l6", "h6-l4", "h6-l8")
SEGMENTED = ("h3-l4", "h4-l6", "h6-l8")
MIDDLE = "h4-l6"
TOKENS, LONGER, STARTED, LOGITS, LOGITS_LONGER, OWN, SELECTION, SCRATCH = ROWS = (
    "tokens", "tokens-3x", "tokens-started", "lets-uniform", "lets-uniform-3x", "own", "weight-selection", "scratch"
)  # fmt: skip
LOGITS_TWICE = "lets-uniform-2x"  # as a backbone only, in cifar10.py
GENES = (LOGITS, LOGITS_LONGER, SELECTION)  # made by cifar10.py
ELASTIC = {TOKENS: 1, LONGER: 3, STARTED: 1}  # times the usual epochs
NAMES = {
    TOKENS: "one training, tokens, {}",
    LONGER: "one training, tokens, {}",
    STARTED: "one training from weight selection, tokens, {}",
    LOGITS: "one training, logits, {}",
    LOGITS_LONGER: "one training, logits, {}",
    LOGITS_TWICE: "one training, logits, {}",
    OWN: "each size on its own, tokens, {}",
    SELECTION: "weight selection, nothing trained",
    SCRATCH: "random weights",
}
MEASURES = {
    "knn": "20 nearest neighbours, %",
    "linear": "linear layer, %",
    "cosine_summary": "cosine, summary",
    "cosine_patches": "cosine, patches",
}
FEATURES = [dict(type="mmlearngene.RadioLoss")]
BANK_EVERY = 5  # one training image in so many is in the bank


class Study(cifar10_runs.Study):
    """The runs of cifar10.py that are needed, and those of tokens."""

    def needs(self, job: Job) -> list[Job]:
        if job.row == SCRATCH and job.kind != "judged":
            return []
        if job.kind == "judged":
            if job.row == STARTED:
                return [PRETRAINED, Job("gene", SELECTION)]
            return [Job("gene", job.row, seed=job.seed)] if job.row in GENES else [PRETRAINED]
        if job.kind.startswith("seg"):
            source = "gene" if job.row in GENES else "judged"
            return [Job(source, job.row, seed=self.source_seed(job))]
        return super().needs(job)

    def products(self, job: Job) -> list[Path]:
        if job.kind == "judged" and job.row in (*ELASTIC, OWN):
            sizes = SIZES if job.row == OWN else [""]
            return [self.dense_file(job.row, size, job.seed) for size in sizes]
        return super().products(job)

    def dense_file(self, row: str, size: str, seed: int) -> Path:
        """A learngene that was distilled from tokens."""
        return self.gene_file(f"dense-{row}", size, seed)

    # ------------------------------------------------------------------ kinds of runs

    def judged(self, job: Job) -> dict:
        """Train, where the row is trained here, and judge the features of every size."""
        if job.row == "ancestry":
            return dict(sizes={ANCESTRY: self._judge(token_model(build(self._ancestry(), "timm")))})
        trained = {**dict.fromkeys(ELASTIC, self._elastic), OWN: self._each}.get(job.row)
        models, cost = trained(job) if trained else ({size: self._plain(job, size) for size in SIZES}, {})
        return dict(sizes={size: self._judge(model) for size, model in models.items()}, **cost)

    def _plain(self, job: Job, size: str) -> TokenModel:
        if job.row == SCRATCH:
            torch.manual_seed(job.seed)
            return token_model(layout_for(spec_of(size), "timm").build(spec_of(size)))
        return token_model(build(load(self.gene_file(job.row, "", job.seed)).expand(size), "timm"))

    def _elastic(self, job: Job) -> tuple[dict[str, TokenModel], dict]:
        way = cifar10_runs.TRAINED[LOGITS]
        learngene = dict(cifar10_runs.learngene_cfg(way), num_classes=0)
        student = {"type": "mmlearngene.AuxNet", **way.student, "learngene": learngene}
        if job.row == STARTED:
            student["init_cfg"] = self._start(SELECTION, "", 0)
        runner, cost = self._train(job, student=student)
        gene = runner.model.student.learngene
        gene.with_classes(0).save(self.dense_file(job.row, "", job.seed))
        with torch.no_grad():
            return {size: token_model(build(gene.expand(size), "timm"), class_token=False) for size in SIZES}, cost

    def _each(self, job: Job) -> tuple[dict[str, TokenModel], dict]:
        width = spec_of(ANCESTRY).embed_dims
        students = {size: cifar10_runs.classifier_cfg(spec_of(size).replace(num_classes=width)) for size in SIZES}
        runner, cost = self._train(job, type="mmlearngene.SideBySide", students=students)
        for size, student in runner.model.students.items():
            extract("pre-fin", load_ancestry(student)).with_classes(0).save(self.dense_file(OWN, size, job.seed))
        return {size: token_model(student) for size, student in runner.model.students.items()}, cost

    def _train(self, job: Job, **model) -> tuple:
        epochs = ELASTIC.get(job.row, 1) * self.protocol.epochs
        cfg = self._config(epochs, seed=job.seed)
        cfg.model = {**self._distiller(**model), "features": FEATURES}
        del cfg.model["distill"]
        cfg.train_dataloader.dataset.with_label = False
        cfg.train_dataloader.dataset.data_root = str(self.root / "images" / "train")
        cfg.val_evaluator = [dict(type="mmlearngene.TeacherCosine")]
        runner, _ = train(cfg, self.root / f"dense_{job.row}_s{job.seed}")
        return runner, dict(epochs=epochs, step_seconds=step_seconds(runner))

    def seg_linear(self, job: Job) -> dict:
        """A linear head on a descendant, trained end to end; mIoU on CamVid."""
        return self._segment(job, linear_head, self._start(job.row, job.size, self.source_seed(job)))

    def seg_upernet(self, job: Job) -> dict:
        """UperNet on a descendant, likewise."""
        return self._segment(job, upernet, self._start(job.row, job.size, self.source_seed(job)))

    @staticmethod
    def source_seed(job: Job) -> int:
        """A seed is that of the distillation too, of which weight selection has none."""
        return 0 if job.row == SELECTION else job.seed

    def _start(self, row: str, size: str, seed: int) -> dict | None:
        if row not in (*ELASTIC, OWN):
            return super()._start(row, size, seed)
        return dict(type="Learngene", checkpoint=str(self.dense_file(row, size if row == OWN else "", seed)))

    # ------------------------------------------------------------------ judging

    def _ancestry(self):
        return load_ancestry(self.ancestry_file, like=spec_of(ANCESTRY))

    @torch.no_grad()
    def _judge(self, model: TokenModel) -> dict[str, float]:
        """Percent right by neighbours and by a linear layer; cosines to the ancestry where there is a projection."""
        model.eval()
        teacher = token_model(build(self._ancestry(), "timm")).eval()
        projects = model.classifier is not None and model.classifier.out_features == teacher.width
        folder = self.root / "images"
        (bank, bank_labels), (queries, labels) = images_in(folder / "train", BANK_EVERY), images_in(folder / "test")
        cosines: dict[str, list[Tensor]] = dict(summary=[], patches=[])

        def features(images: Tensor, compare: bool) -> Tensor:
            found = []
            for batch in images.split(500):
                if not compare:
                    found.append(model(batch).summary)
                    continue
                own, projected = model(batch, project=True)
                found.append(own.summary)
                for name, kept in cosines.items():
                    kept.append(cosine(getattr(projected, name), getattr(teacher(batch), name)).flatten())
            return torch.cat(found)

        sides = features(bank, False).numpy(), bank_labels.numpy(), features(queries, projects).numpy(), labels.numpy()
        result = dict(knn=knn_accuracy(*sides), linear=linear_accuracy(*sides))
        return result | {f"cosine_{name}": float(torch.cat(kept).mean()) for name, kept in cosines.items() if kept}


@dataclass(frozen=True)
class Tables(cifar10.Tables):
    """What is finished, in Markdown."""

    names: ClassVar = NAMES

    def epochs(self, row: str) -> int:
        return ELASTIC[row] * self.study.protocol.epochs if row in ELASTIC else super().epochs(row)

    def all(self) -> dict[str, str]:
        measured = ("knn", "linear", "cosine_summary", "cosine_patches")
        return {**{each: self.judged(each) for each in measured}, "tokens": self.tokens(), "camvid": self.camvid()}

    def judged(self, measure: str) -> str:
        """One measure of the features of every size, mean and deviation of the seeds."""
        digits, cells = 3 if measure.startswith("cosine") else 1, []
        for row in ROWS:
            values = self.values(row, measure)
            if values:
                overall = list(map(statistics.mean, zip(*values.values(), strict=True)))
                shown = (with_spread(found, digits) for found in (*values.values(), overall))
                cells.append([self.name(row), len(overall), *shown])
        return markdown([MEASURES[measure], "seeds", *SIZES, "mean"], cells)

    def values(self, row: str, measure: str) -> dict[str, list[float]]:
        """Size -> the measure of each seed."""
        found = [run["sizes"] for run in self.of_seeds("judged", row, "") if measure in run["sizes"][SIZES[0]]]
        return {size: [sizes[size][measure] for sizes in found] for size in SIZES} if found else {}

    def tokens(self) -> str:
        """FLOPs of a training of these six sizes, by the largest one's distillation of 6 epochs."""
        # the projection to the teacher's width is a small part
        both = {TOKENS: LOGITS, LONGER: LOGITS_LONGER, STARTED: LOGITS}
        rows = {row: self.flops(both.get(row, row), SIZES) for row in ROWS[:6] if self.values(row, "knn")}
        cells = [[self.name(row), f"{flops / self.flops('lets'):.2f}"] for row, flops in rows.items()]
        return markdown(["six sizes", "trainings of the largest size"], cells)

    def camvid(self) -> str:
        """Descendants as backbones, mean and deviation of the seeds."""
        cells = []
        sizes = [size for size in SEGMENTED if any(self.of_seeds("seg_linear", row, size) for row in ROWS)]
        for row in (*ROWS, LOGITS_TWICE):
            linear = {size: self.of_seeds("seg_linear", row, size) for size in sizes}
            upernet = self.of_seeds("seg_upernet", row, MIDDLE)
            upernet = upernet or self.of_seeds("camvid", row, MIDDLE)  # the same run, where cifar10.py has it
            values = [[run["test"] for run in found] for found in linear.values()]
            values += [[run[key] for run in upernet] for key in ("val", "test")]
            if any(values):
                cells.append([self.name(row), max(map(len, values)), *map(with_spread, values)])
        head = [f"linear head, {size}, test" for size in sizes]
        return markdown(["backbone from", "seeds", *head, f"UperNet, {MIDDLE}, validation", "test"], cells)


@cache
def images_in(folder: Path, every: int = 1) -> tuple[Tensor, Tensor]:
    """Normalised images (N, 3, 32, 32) of class folders, one in so many, and labels (N,)."""
    files = sum(1 for _ in folder.glob("*/*.*"))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        data = PackedImages(data_root=str(folder), indices=list(range(0, files, every)), pipeline=[])
    pixels = torch.from_numpy(np.stack(list(data.images.values()))).permute(0, 3, 1, 2).flip(1).float()
    given = Config.fromfile(cifar10_runs.CONFIGS / "camvid_cifar10.py").data_preprocessor
    mean, std = (torch.tensor(given[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (pixels - mean) / std, torch.tensor([data.get_data_info(i)["gt_label"] for i in range(len(data))])


def linear_head(spec: ViTSpec, **fields) -> dict:
    """One linear layer on the descendant's tokens in the place of the UperNet of the study's config."""
    model = linear_tuned(spec, **fields)
    layer = dict(type="FCNHead", num_convs=0, concat_input=False, dropout_ratio=0.0, _delete_=True)
    return model | dict(neck=None, auxiliary_head=None, decode_head={**model["decode_head"], **layer})


def jobs(seeds: int) -> list[Job]:
    """The whole study, what is asked for first coming first."""
    todo = [Job("judged", row, seed=seed) for seed in range(seeds) for row in ("ancestry", *ROWS)]
    todo = [job for job in todo if job.seed == 0 or job.row not in ("ancestry", SELECTION)]
    for seed in range(seeds):
        todo += [Job("seg_linear", row, size, seed) for size in SEGMENTED for row in ROWS]
        todo += [Job("seg_upernet", row, MIDDLE, seed) for row in ROWS]
    return todo


def main() -> None:
    """Run the study."""
    parser = cifar10.arguments(__doc__)
    parser.add_argument("--epochs", type=int, help="of every distillation")
    args = parser.parse_args()
    protocol = QUICK if args.quick else FULL
    protocol = replace(protocol, epochs=args.epochs or protocol.epochs)
    results = Results(args.results or args.work_dir / "results.jsonl")
    study = Study(args.work_dir, args.data, results, protocol)
    cifar10.work(study, jobs(args.seeds), args)
    if found := study.result(Job("judged", "ancestry")):
        best = found["sizes"][ANCESTRY]
        print(f"the ancestry: {best['knn']:.1f} % by neighbours, {best['linear']:.1f} % by a linear layer\n")
    tables = Tables(study, args.seeds)
    cifar10.show(tables.all(), args.pages)
    shown = {tables.name(row): tables.values(row, "knn") for row in ROWS}
    if shown := {row: {size: statistics.mean(v) for size, v in found.items()} for row, found in shown.items() if found}:
        title = "20 nearest neighbours, features as they are"
        cifar10.plot_family(shown, args.figures / "dense_cifar10.png", title)


if __name__ == "__main__":
    main()
