"""Is every size of a learngene good without tuning? LeTs on handwritten digits, elastic and as in the paper.

    python studies/elastic_digits.py

The demo's ancestry h6-l8 teaches a learngene h3-l4 in the Aux-Net h6-l8, in one of these ways:

* ``paper``: every step trains the Aux-Net, as in the paper;
* ``elastic``: every step trains one of the sizes h3 to h6 by l4 to l8, drawn at random; as many steps;
* ``elastic, same time``: the same for as many epochs as take as long as the paper's way;
* ``sandwich``: every step trains the Aux-Net and one drawn size; as many steps.

Then all twenty sizes are expanded and tested as they are. How long an epoch takes is told by the seconds of processor
time of the training steps, one thread each, of the first seed: measured one after another on one machine.
Every run leaves a line in results.jsonl of the work dir; what is finished is not done again, what was interrupted is
resumed. Table and figure are made from this file, also of the seeds that are finished so far.
"""

from __future__ import annotations

import argparse
import os
import statistics
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from common import Results, step_seconds, train  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmlearngene.engine.hooks.sizes_val import by_size  # noqa: E402
from mmlearngene.use.size_map import plot_sizes  # noqa: E402

CONFIGS = Path("configs/demo")
ANCESTRY = "ancestry/epoch_15.pth"
SANDWICH = {"type": "mmlearngene.SandwichSizes", "count": 1, "smallest": False}
# way -> config and overrides
WAYS: dict[str, tuple[str, dict]] = {
    "paper": ("aux_lets.py", {}),
    "elastic": ("elastic_lets.py", {}),
    "elastic, same time": ("elastic_lets.py", {}),
    "sandwich": ("elastic_lets.py", {f"model.student.sizes.{key}": value for key, value in SANDWICH.items()}),
}
METRIC = "accuracy/top1"


@dataclass
class Study:
    """All runs of one work dir.

    Attributes:
        root: the work dir.
        epochs: of the paper's way.
    """

    root: Path
    epochs: int = 20

    @cached_property
    def results(self) -> Results:
        """What the runs came to."""
        return Results(self.root / "results.jsonl")

    @staticmethod
    def name(way: str, seed: int) -> str:
        """A run's name, also of its folder."""
        return f"{way.replace(', ', '_').replace(' ', '_')}_seed{seed}"

    def train_ancestry(self) -> Path:
        """The teacher of all runs; its checkpoint."""
        checkpoint = self.root / ANCESTRY
        if not checkpoint.exists():
            self._train("ancestry.py", self.root / "ancestry", {})
        return checkpoint

    def run(self, way: str, seed: int) -> dict:
        """Train one learngene and test its sizes, unless that is done."""
        name = self.name(way, seed)
        if found := self.results.get(name):
            return found
        config, options = WAYS[way]
        epochs = self.epochs_at_equal_time() if way == "elastic, same time" else self.epochs
        length = {"train_cfg.max_epochs": epochs, "train_cfg.val_interval": epochs}
        teacher = {"model.teacher.checkpoint": str(self.train_ancestry()), "randomness.seed": seed}
        runner, metrics = self._train(config, self.root / name, {**options, **length, **teacher})
        result = dict(
            way=way,
            seed=seed,
            epochs=epochs,
            step_seconds=step_seconds(runner),
            accuracy=by_size(metrics, METRIC),
        )
        self.results.add(name, result)
        return result

    def epochs_at_equal_time(self) -> int:
        """Elastic epochs that take as long as the paper's way, by the mean step of the first seed."""
        paper, elastic = (self.run(way, 0)["step_seconds"] for way in ("paper", "elastic"))
        return round(self.epochs * paper / elastic)

    def _train(self, config: str, folder: Path, options: dict) -> tuple[Runner, dict[str, float]]:
        cfg = Config.fromfile(CONFIGS / config)
        cfg.merge_from_dict(options)
        return train(cfg, folder)

    def report(self, seeds: int, figure: Path | None) -> None:
        """The table of all finished runs, and the figure: means over seeds."""
        means = {}
        print("| way | seeds | epochs | CPU ms a step | least of the sizes | h3-l4 | h4-l6 | h6-l8 | mean of all |")
        print("|---|---|---|---|---|---|---|---|---|")
        for way in WAYS:
            runs = [result for seed in range(seeds) if (result := self.results.get(self.name(way, seed)))]
            if not runs:
                continue
            sizes = list(runs[0]["accuracy"])
            means[way] = {size: statistics.mean(run["accuracy"][size] for run in runs) for size in sizes}
            least = [min(run["accuracy"].values()) for run in runs]
            shown = [[run["accuracy"][size] for run in runs] for size in ("h3-l4", "h4-l6", "h6-l8")]
            every = [statistics.mean(run["accuracy"].values()) for run in runs]
            cells = " | ".join(map(_mean, [least, *shown, every]))
            milliseconds = 1000 * statistics.mean(run["step_seconds"] for run in runs)
            print(f"| {way} | {len(runs)} | {runs[0]['epochs']} | {milliseconds:.0f} | {cells} |")
        for way, values in means.items():
            print(f"least of the mean over seeds, {way}: {min(values.values()):.1f} ({min(values, key=values.get)})")
        if figure and means:
            plot_sizes(means, figure, "LeTs on handwritten digits, every size without any tuning")


def _mean(values: list[float]) -> str:
    """The mean, and the least and the most where there are several."""
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/elastic_digits"), help="where everything goes")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which ways of training")
    parser.add_argument(
        "--figure", type=Path, default=Path("docs/images/elastic_digits.png"), help="the picture to write"
    )
    parser.add_argument("--report", action="store_true", help="only make table and figure of what is finished")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.work_dir)
    if not args.report:
        study.train_ancestry()
        for seed in range(args.seeds):
            for way in args.ways:
                result = study.run(way, seed)
                print(
                    f"{way}, seed {seed}: the least of the sizes {min(result['accuracy'].values()):.1f} %", flush=True
                )
    study.report(args.seeds, args.figure)


if __name__ == "__main__":
    main()
