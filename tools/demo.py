"""The whole learngene chain on handwritten digits, on a CPU: `make demo`, or `python tools/demo.py`.

An ancestry is trained, and a principal learngene is taken out of it, for which nothing is trained: all its sizes are
measured untuned, which is the first result. Then LeTs is trained, elastic, where every step trains another size;
descendants of both are trained beside the same networks from scratch at equal epochs, and one becomes the backbone of
an UperNet. `make demo ALL=1`, or `--all`, adds LeTs as in the paper, the other methods and the controls at one size.
Everything is one run of a config in configs/demo; two runs go on at a time, one thread each. Table, figures and
results.json come out in work_dirs/demo.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402
from matplotlib.colors import ListedColormap  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from mmlearngene import extract  # noqa: E402
from mmlearngene.datasets import DigitsSegmentation  # noqa: E402
from mmlearngene.engine.hooks.sizes_val import by_size  # noqa: E402
from mmlearngene.engine.run.device import adapt_to_device  # noqa: E402
from mmlearngene.engine.run.prepare import prepare  # noqa: E402
from mmlearngene.io.checkpoints import load_state_dict  # noqa: E402
from mmlearngene.io.paths import SUFFIX  # noqa: E402
from mmlearngene.learngenes import load  # noqa: E402
from mmlearngene.recipes import read_sized  # noqa: E402
from mmlearngene.registry import DATASETS, MODELS  # noqa: E402
from mmlearngene.use.figures import plot_clusters, plot_mixtures  # noqa: E402
from mmlearngene.use.size_map import plot_sizes  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs" / "demo"
SIZES = ("h4-l6", "h5-l6", "h6-l8")  # LeTs reaches all of them
COMPARED = "h6-l4"  # of the ancestry's width, which the other methods and the controls keep
ANCESTRY_EPOCHS = 15
# method -> config (also the folder) and epochs
DISTILLED = {
    "lets": ("elastic_lets", 20),
    "lets-paper": ("aux_lets", 20),
    "tleg": ("aux_tleg", 12),
    "sws": ("aux_sws", 12),
}
# those whose sizes are all measured
MEASURED = {"principal": "principal, nothing trained", "lets": "elastic LeTs", "lets-paper": "LeTs as in the paper"}
SHOWN = ("principal", "lets")  # without --all
# method -> options; attention distances of 4 x 4 patches of 2 pixels lie close together, so eps is small
EXTRACTED: dict[str, dict] = {
    "principal": dict(data=str(CONFIGS / "training_images.py"), num_images=500),
    "cluster": dict(data=str(CONFIGS / "ancestry.py"), num_images=500, eps=0.05),
    "peg": {},
    **{m: {} for m in ("first-k", "uniform-k", "heuristic", "auto-learngene", "weight-selection", "front", "mimetic")},
}
SCRATCH = {"model.init_cfg": None, "optim_wrapper.optimizer.lr": 3e-3}  # from scratch trains best at a higher rate


@dataclass
class Job:
    """One run: of a config with overrides, or, where there is a method, an extraction.

    Attributes:
        name: also the folder below the work dir.
        config: file in configs/demo.
        arch: the size, where it is not the config's own.
        options: overrides of the config, or options of the extraction.
        needs: jobs that have to be done before.
        method: extraction method.
    """

    name: str
    config: str = ""
    arch: str | None = None
    options: dict = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    method: str = ""


@dataclass
class Result:
    """What a run came to: validations as (epoch or iteration, percent), parameters, share inherited, seconds.

    ``sizes`` has the last validation's percentages at other sizes, untuned, where a learngene was trained.
    """

    name: str
    history: list[tuple[int, float]]
    params: int
    inherited: float
    seconds: float
    sizes: dict[str, float] = field(default_factory=dict)


def gene_file(work_dir: Path, init: str) -> Path:
    """Where the learngene of a method is, once its job is done."""
    stem = "{}/epoch_{}".format(*DISTILLED[init]) if init in DISTILLED else init
    return work_dir / f"{stem}{SUFFIX}"


def jobs(work_dir: Path, everything: bool = False) -> list[Job]:
    """The demo's runs, the first result's first, then long ones where the order is free.

    Args:
        work_dir: where they go.
        everything: with the methods and controls that are not ``SHOWN``.
    """
    teacher = {"model.teacher.checkpoint": str(work_dir / "ancestry" / f"epoch_{ANCESTRY_EPOCHS}.pth")}
    methods = [m for m in (*DISTILLED, *EXTRACTED) if everything or m in SHOWN]
    todo = [Job("ancestry", "ancestry.py")]
    todo += [Job("principal", options=EXTRACTED["principal"], needs=("ancestry",), method="principal")]
    stages = [DISTILLED[m][0] for m in methods if m in DISTILLED]
    todo += [Job(stage_1, f"{stage_1}.py", options=teacher, needs=("ancestry",)) for stage_1 in stages]
    others = [m for m in methods if m in EXTRACTED and m != "principal"]
    todo += [Job(m, options=EXTRACTED[m], needs=("ancestry",), method=m) for m in others]
    source = {m: stage_1 for m, (stage_1, _) in DISTILLED.items()} | {m: m for m in EXTRACTED}

    def descendant(size: str, init: str) -> Job:
        if init == "scratch":
            return Job(f"{size} {init}", "des.py", size, SCRATCH)
        if init == "distill":
            return Job(f"{size} {init}", "distill_h6_l4.py", size, teacher, ("ancestry",))
        options = {"model.init_cfg.checkpoint": str(gene_file(work_dir, init))}
        if init in DISTILLED:
            options["optim_wrapper.optimizer.lr"] = 5e-4  # little is left to learn
        return Job(f"{size} {init}", "des.py", size, options, (source[init],))

    inits = ("scratch", *(m for m in MEASURED if m in methods))
    todo += [descendant(size, init) for size in SIZES for init in inits]
    learngene = {"model.init_cfg.checkpoint": str(gene_file(work_dir, "lets"))}
    todo += [
        Job("seg scratch", "seg_h4_l6.py", options={"model.init_cfg": None}),
        Job("seg lets", "seg_h4_l6.py", options=learngene, needs=(source["lets"],)),
    ]
    if everything:
        todo += [descendant(COMPARED, init) for init in ("scratch", "distill", *DISTILLED, *EXTRACTED)]
    return todo


class _Recorder(Hook):
    """Collects validation results and tells the progress bar."""

    priority = "LOWEST"

    def __init__(self, name: str, queue: multiprocessing.Queue) -> None:
        self.name, self.queue = name, queue
        self.history: list[tuple[int, float]] = []
        self.sizes: dict[str, float] = {}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if (runner.iter + 1) % 15 == 0:
            self.queue.put((self.name, runner.iter + 1, runner.max_iters))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        accuracy = metrics.get("accuracy/top1")
        step, value = (runner.iter, metrics["mIoU"]) if accuracy is None else (runner.epoch, accuracy)
        self.history.append((step, float(value)))
        self.sizes = by_size(metrics, "accuracy/top1")


def run(job: Job, work_dir: Path, queue: multiprocessing.Queue) -> Result:
    """Do one job, in a worker process."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    start = time.time()
    if job.method:
        gene = extract(
            job.method,
            work_dir / "ancestry" / f"epoch_{ANCESTRY_EPOCHS}.pth",
            like=CONFIGS / "ancestry.py",
            **job.options,
        )
        gene.save(gene_file(work_dir, job.method))
        sizes = measured(gene_file(work_dir, job.method), work_dir) if job.method in MEASURED else {}
        return Result(job.name, [], gene.stored_params()["total"], 1.0, time.time() - start, sizes)
    cfg = read_sized(CONFIGS / job.config, job.arch)
    cfg.merge_from_dict(job.options)
    cfg.work_dir = str(work_dir / job.name.replace(" ", "_"))
    cfg.experiment_name = job.name
    runner = Runner.from_cfg(adapt_to_device(prepare(cfg, look=False)))
    recorder = _Recorder(job.name, queue)
    runner.register_hook(recorder)
    model = runner.train()
    report = getattr(model, "load_report", None)
    params = sum(p.numel() for p in model.parameters())
    return Result(
        job.name, recorder.history, params, report.share if report else 0.0, time.time() - start, recorder.sizes
    )


def measured(gene: Path, work_dir: Path) -> dict[str, float]:
    """Accuracy in % of all sizes that the elastic LeTs trains, as a learngene gives them."""
    cfg, elastic = (Config.fromfile(CONFIGS / f"{name}.py") for name in ("ancestry", "elastic_lets"))
    (heads, layers) = (elastic.model.student.sizes[name] for name in ("heads", "layers"))
    sizes = [f"h{h}-l{d}" for h in range(heads[0], heads[1] + 1) for d in range(layers[0], layers[1] + 1)]
    learngene = dict(type="mmlearngene.LoadLearngene", path=str(gene))
    cfg.model = dict(type="mmlearngene.AuxNet", learngene=learngene, data_preprocessor=cfg.get("data_preprocessor"))
    cfg.custom_hooks = [dict(type="mmlearngene.SizesValHook", sizes=sizes)]
    cfg.update(train_dataloader=None, train_cfg=None, optim_wrapper=None, param_scheduler=None)
    cfg.work_dir, cfg.experiment_name = str(work_dir / f"{gene.name}_sizes"), f"{gene.name} sizes"
    return by_size(Runner.from_cfg(adapt_to_device(cfg)).val(), "accuracy/top1")


def run_all(todo: list[Job], work_dir: Path, processes: int, console: Console) -> dict[str, Result]:
    """Run the jobs, each as soon as what it needs is there; a bar for each run, a line for each that is done."""
    context = multiprocessing.get_context("fork")
    queue = context.Manager().Queue()
    results: dict[str, Result] = {}
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with (
        ProcessPoolExecutor(processes, mp_context=context, initializer=_quiet) as pool,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        whole = progress.add_task("all runs", total=len(todo))
        bars: dict[str, int] = {}
        running: dict[Future, Job] = {}
        waiting = list(todo)
        while waiting or running:
            for job in [j for j in waiting if all(need in results for need in j.needs)]:
                if len(running) == processes:
                    break
                waiting.remove(job)
                bars[job.name] = progress.add_task(job.name, total=None)
                running[pool.submit(run, job, work_dir, queue)] = job
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            while not queue.empty():
                name, step, total = queue.get()
                if name in bars:
                    progress.update(bars[name], completed=step, total=total)
            for future in done:
                job, result = running.pop(future), future.result()
                results[job.name] = result
                progress.remove_task(bars.pop(job.name))
                progress.advance(whole)
                last = f"{result.history[-1][1]:5.1f} %" if result.history else ""
                console.print(f"[{len(results):>2}/{len(todo)}] {job.name:<24} {result.seconds:5.1f} s  {last}")
                if job.name == "principal":
                    console.print("The first result: nothing but the ancestry was trained.")
                    print_sizes(untuned(results), console)
    return results


def _quiet() -> None:
    """Runs log to their own folders; the screen belongs to the progress bars."""
    sys.stdout = sys.stderr = open(os.devnull, "w")


def rows(results: dict[str, Result]) -> list[dict]:
    """The table of classification runs."""
    table = []
    for name, result in results.items():
        size, _, init = name.partition(" ")
        if not result.history or size in ("seg",) or not init:
            continue
        at = dict(result.history)
        table.append(
            dict(
                size=size,
                init=init,
                params=result.params,
                inherited=result.inherited,
                epoch_0=at.get(0),
                epoch_1=at.get(1),
                final=result.history[-1][1],
                epochs=result.history[-1][0],
            )
        )
    return sorted(table, key=lambda row: (row["size"] == COMPARED, row["size"], row["init"] != "scratch"))


def print_table(table: list[dict], results: dict[str, Result], console: Console) -> None:
    """Show all results."""
    epochs = table[0]["epochs"]
    view = Table(title="Descendants on handwritten digits: top-1 accuracy in % (epoch 0: before any tuning)")
    for column in ("size", "init", "params", "inherited", "epoch 0", "epoch 1", f"epoch {epochs}"):
        view.add_column(column, justify="left" if column in ("size", "init") else "right", no_wrap=True)
    for previous, row in zip([None, *table], table, strict=False):
        if previous and previous["size"] != row["size"]:
            view.add_section()
        scores = (f"{row[key]:.1f}" if row[key] is not None else "" for key in ("epoch_0", "epoch_1", "final"))
        view.add_row(row["size"], row["init"], f"{row['params']:,}", f"{row['inherited']:.0%}", *scores)
    console.print(view)
    ancestry = results["ancestry"]
    console.print(
        f"ancestry h6-l8, {ANCESTRY_EPOCHS} epochs: {ancestry.history[-1][1]:.1f} % with {ancestry.params:,} parameters"
    )
    for method, (stage_1, epochs) in DISTILLED.items():
        if (aux := results.get(stage_1)) is None:
            continue
        console.print(
            f"Aux-Net of {method}, {epochs} epochs: {aux.history[-1][1]:.1f} % with {aux.params:,} stored parameters"
        )
    for init in ("scratch", "lets"):
        history = results[f"seg {init}"].history
        scores = ", ".join(f"{value:.1f} after {step}" for step, value in history)
        console.print(f"UperNet h4-l6 from {init}, mIoU in %: {scores} iterations")


def untuned(results: dict[str, Result]) -> dict[str, dict[str, float]]:
    """Each way whose sizes are measured, as far as it is finished -> size -> percent without any tuning."""
    runs = {way: DISTILLED.get(method, (method,))[0] for method, way in MEASURED.items()}
    return {way: results[run].sizes for way, run in runs.items() if run in results}


def print_sizes(scores: dict[str, dict[str, float]], console: Console) -> None:
    """Show the accuracy at every size, the ways of training beside each other."""
    sizes = [size.split("-") for size in next(iter(scores.values()))]
    layers = sorted({depth for _, depth in sizes})
    view = Table(title=f"Untuned: top-1 in %, {' / '.join(scores)}")
    for column in ("", *layers):
        view.add_column(column, justify="right", no_wrap=True)
    for heads in sorted({heads for heads, _ in sizes}):
        view.add_row(heads, *(" / ".join(f"{v[f'{heads}-{depth}']:.1f}" for v in scores.values()) for depth in layers))
    worst = ", ".join(f"{way} {min(values.values()):.1f}" for way, values in scores.items())
    console.print(view)
    console.print(f"the worst size: {worst}")


def draw_curves(results: dict[str, Result], path: Path) -> None:
    """Accuracy over epochs for each size, and mIoU over iterations."""
    panels = [size for size in (*SIZES, COMPARED, "seg") if any(name.startswith(f"{size} ") for name in results)]
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4), layout="constrained")
    for axis, size in zip(axes, panels, strict=True):
        axis.set_prop_cycle(color=plt.get_cmap("tab20").colors)
        for name, result in results.items():
            prefix, _, init = name.partition(" ")
            if prefix == size and init:
                style = dict(color="black", linestyle="--") if init == "scratch" else {}
                axis.plot(*zip(*result.history, strict=True), marker=".", label=init, **style)
        seg = size == "seg"
        axis.set(title="UperNet h4-l6" if seg else size, xlabel="iteration" if seg else "epoch", ylim=(0, 100))
        axis.set_ylabel("mIoU in %" if seg else "top-1 accuracy in %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper left" if seg else "lower right")
    scratch, gene = (dict(results[f"{SIZES[0]} {init}"].history) for init in ("scratch", "lets"))
    figure.suptitle(
        f"{SIZES[0]} from the LeTs learngene: {gene[0]:.0f} % before any tuning, {gene[1]:.0f} % after one epoch; "
        f"from scratch {scratch[5]:.0f} % after five\n(learning rate 5e-4 after distillation, 3e-3 from scratch)"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_masks(work_dir: Path, path: Path, count: int = 4) -> None:
    """Canvases, their truth, and what the two UperNets see."""
    columns = {"image": None, "truth": None}
    for init in ("scratch", "lets"):
        cfg = Config.fromfile(next((work_dir / f"seg_{init}").glob("*.py")))
        model = MODELS.build({**cfg.model, "init_cfg": None, "_scope_": "mmseg"}).eval()
        model.load_state_dict(load_state_dict(work_dir / f"seg_{init}" / f"iter_{cfg.train_cfg.max_iters}.pth"))
        dataset = DATASETS.build({**cfg.test_dataloader.dataset, "_scope_": "mmseg"})
        batch = pseudo_collate([dataset[i] for i in range(count)])
        with torch.no_grad():
            predictions = model.test_step(batch)
        columns["image"] = [image[0] for image in batch["inputs"]]
        columns["truth"] = [sample.gt_sem_seg.data[0] for sample in batch["data_samples"]]
        columns[f"from {init}"] = [sample.pred_sem_seg.data[0] for sample in predictions]
    colours = ListedColormap([tuple(c / 255 for c in colour) for colour in DigitsSegmentation.METAINFO["palette"]])
    figure, axes = plt.subplots(count, 4, figsize=(8, 2 * count), layout="constrained")
    for column, (title, images) in enumerate(columns.items()):
        axes[0, column].set_title(title)
        for axis, image in zip(axes[:, column], images, strict=True):
            options = (
                dict(cmap="gray") if title == "image" else dict(cmap=colours, vmin=0, vmax=10, interpolation="none")
            )
            axis.imshow(image, **options)
            axis.axis("off")
    figure.legend(
        handles=[Patch(color=colours(i), label=name) for i, name in enumerate(DigitsSegmentation.METAINFO["classes"])],
        loc="outside lower center",
        ncols=6,
        fontsize=8,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"), help="where everything goes")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time")
    parser.add_argument("--all", action="store_true", help="every method and control, at one size more")
    args = parser.parse_args()
    args.work_dir = args.work_dir.resolve()
    os.chdir(ROOT)  # the configs name each other from here
    args.work_dir.mkdir(parents=True, exist_ok=True)
    console = Console()
    start = time.time()
    results = run_all(jobs(args.work_dir, args.all), args.work_dir, args.processes, console)
    table = rows(results)
    print_table(table, results, console)
    print_sizes(untuned(results), console)
    plot_sizes(untuned(results), args.work_dir / "sizes.png", "Handwritten digits, without any tuning")
    draw_curves(results, args.work_dir / "curves.png")
    draw_masks(args.work_dir, args.work_dir / "masks.png")
    if args.all:
        plot_clusters(load(gene_file(args.work_dir, "cluster")), args.work_dir / "clusters.png")
        plot_mixtures(load(gene_file(args.work_dir, "peg")), args.work_dir / "mixtures.png")
    seconds = time.time() - start
    report = dict(seconds=seconds, descendants=table, runs={name: asdict(r) for name, r in results.items()})
    temporary = args.work_dir / "results.json.tmp"
    temporary.write_text(json.dumps(report, indent=1))
    temporary.replace(args.work_dir / "results.json")
    console.print(
        f"{seconds:.0f} s; see sizes.png, curves.png, masks.png{', clusters.png, mixtures.png' * args.all} and "
        f"results.json in {args.work_dir}"
    )


if __name__ == "__main__":
    main()
