"""What an Aux-Net costs: a training step of it and of a plain ViT of its shape, taken in turn, for LeTs, TLEG and SWS.

    python tools/benchmarks/step_cost.py                                        DeiT-S and DeiT-B sizes on this machine
    python tools/benchmarks/step_cost.py --methods lets --sizes B --batch 64 --amp     one on a GPU, in bfloat16
    python tools/benchmarks/step_cost.py --compile --teacher levit_384 --out step_cost.json

A step is forward, backward and AdamW; the plain ViT has more to update than the learngene, so the ratio of forward and
backward alone is given too. All kinds of steps run in one process, one step each per round, and ratios are taken within
a round: a machine that slows down slows all of them.

    aux         the Aux-Net, as in the papers
    uniform     one size, drawn from all between learngene and Aux-Net; the cost is the mean over the rounds' draws
    sandwich    the Aux-Net and a drawn size
    naive       LeTs with every Aux layer generated on its own, as its released code does
    compiled    the Aux-Net, its network by torch.compile
    teacher     no step, but the forward pass of a teacher on the same images

Beside each stands the bound by FLOPs of networks and expansion, and the peak of memory: weights, AdamW's moments, and
what a step has at most beside them.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from mmlearngene import ViTSpec, initialize
from mmlearngene.frameworks.timm import VIT
from mmlearngene.learngenes import LEARNGENES, Learngene
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.models.sizes import SandwichSizes, SizeSampler, Step, UniformSizes
from mmlearngene.utils.tables import table
from mmlearngene.vit.weights import ViTWeights

DRAWS = 1000  # over which the FLOPs of elastic steps are averaged
# the papers' learngenes, and a LeTs at DeiT-S size, which its paper has not; and the depths that elastic configs draw
GENES = {
    ("lets", "S"): dict(learngene="h3-l8", aux="h6-l16"),
    ("lets", "B"): dict(learngene="h6-l8", aux="h12-l16"),
    ("tleg", "S"): dict(aux="h6-l12"),
    ("tleg", "B"): dict(aux="h12-l12"),
    ("sws", "S"): dict(aux="h6-l16"),
    ("sws", "B"): dict(aux="h12-l16"),
}
SHALLOWEST = {"lets": 8, "tleg": 3, "sws": 6}


def naive_expand(learngene: LeTs) -> ViTWeights:
    """Each Aux layer by itself: both learngene layers of its group widened, then their weighted sum."""
    spec, layers = learngene.aux_spec, []
    for row in learngene.default_rows(spec.num_layers):
        # a descendant of one layer is one layer generated alone
        layers.append(learngene.expand(spec.replace(num_layers=1), rows=[row]))
    tensors = {name: [weights.layers()[0][name] for weights in layers] for name in layers[0].layers()[0]}
    return ViTWeights(spec, {**layers[0].stem(), **tensors})


class Stepper:
    """One training step: forward, backward, AdamW."""

    def __init__(self, parameters: nn.Module, forward: Callable[[Tensor], Tensor], inputs: Tensor, amp: bool) -> None:
        self.forward, self.inputs = forward, inputs
        self.context = torch.autocast(inputs.device.type, dtype=torch.bfloat16) if amp else nullcontext()
        self.optimizer = torch.optim.AdamW(parameters.parameters(), lr=1e-5, fused=inputs.is_cuda)
        self.state_bytes = 3 * sum(p.numel() * p.element_size() for p in parameters.parameters())
        self.peak_bytes = 0

    def __call__(self) -> tuple[float, float]:
        """Seconds of one step: the whole of it, and forward and backward alone."""
        peak = Peak(self.inputs.device)
        start = time.perf_counter()
        with self.context:
            loss = self.forward(self.inputs).float().square().mean()
        loss.backward()
        synchronize(self.inputs.device)
        passes = time.perf_counter() - start
        self.optimizer.step()
        self.optimizer.zero_grad()
        synchronize(self.inputs.device)
        seconds = time.perf_counter() - start
        self.peak_bytes = max(self.peak_bytes, self.state_bytes + peak.grown())
        return seconds, passes


class Peak:
    """How much the memory in use grows at most, from now on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        synchronize(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # else memory that was freed counts as in use
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the kernel keeps
            self.before = self._kept("VmRSS")

    def grown(self) -> int:
        """Bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() - self.before
        return self._kept("VmHWM") - self.before

    @staticmethod
    def _kept(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def forward_flops(learngene: Learngene) -> Callable[[ViTSpec, int], int]:
    """FLOPs of a forward pass at a size and batch, the expansion's matrix products included."""
    with torch.device("meta"):
        shadow = type(learngene)(learngene.learngene_spec, learngene.aux_spec, **learngene.config)

    @functools.cache
    def of_expansion(spec: ViTSpec) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            shadow.expand(spec)
        return counter.get_total_flops()

    return lambda spec, batch: spec.flops * batch + of_expansion(spec)


def measure_steps(method: str, size: str, args: argparse.Namespace, device: torch.device) -> dict:
    """Seconds and peak of a plain ViT's step, and of every other kind its ratios over the plain ViT's."""
    torch.manual_seed(0)
    with device:
        learngene, inputs = LEARNGENES[method](**GENES[method, size]), torch.randn(args.batch, 3, 224, 224)
        plain = VIT.make(learngene.aux_spec)
    aux = learngene.aux_spec
    ends = dict(layers=[SHALLOWEST[method], aux.num_layers])
    if method == "lets":
        ends["heads"] = [learngene.learngene_spec.num_heads, aux.num_heads]
    samplers = {
        "uniform": UniformSizes(learngene, **ends),
        "sandwich": SandwichSizes(learngene, **ends, count=1, smallest=False),
    }

    @functools.cache
    def template_of(spec: ViTSpec) -> nn.Module:
        with torch.device("meta"):
            return VIT.make(spec)

    def called(model: nn.Module, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(model, state, (inputs,))

    def run(weights: ViTWeights, inputs: Tensor, call: Callable = called) -> Tensor:
        return call(template_of(weights.spec), VIT.state_dict(weights), inputs)

    def elastic(sampler: SizeSampler) -> Stepper:
        iterations = itertools.count()

        def forward(inputs: Tensor) -> Tensor:
            specs = sampler.draw(Step(args.seed, next(iterations), args.rounds))
            return torch.cat([run(learngene.expand(spec), inputs) for spec in specs])

        for spec in sampler.sizes:  # a run builds each once; here none of them is to be timed
            template_of(spec)
        return Stepper(learngene, forward, inputs, args.amp)

    steps = {
        "plain": Stepper(plain, plain, inputs, args.amp),
        "aux": Stepper(learngene, lambda x: run(learngene.expand(), x), inputs, args.amp),
        **{name: elastic(sampler) for name, sampler in samplers.items()},
    }
    if method == "lets" and not args.skip_naive:
        steps["naive"] = Stepper(learngene, lambda x: run(naive_expand(learngene), x), inputs, args.amp)
    if args.compile:
        compiled = torch.compile(called, fullgraph=True)
        steps["compiled"] = Stepper(learngene, lambda x: run(learngene.expand(), x, compiled), inputs, args.amp)
        expected = run(learngene.expand(), inputs)
        difference = (run(learngene.expand(), inputs, compiled) - expected).abs().max().item()
    if args.teacher:
        with device:
            teacher = timm.create_model(args.teacher).eval()

        def watch() -> tuple[float, float]:
            synchronize(device)
            start = time.perf_counter()
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16) if args.amp else nullcontext():
                teacher(inputs)
            synchronize(device)
            return (time.perf_counter() - start,) * 2

        steps["teacher"] = watch
    for step in steps.values():
        step()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(step())

    flops = forward_flops(learngene)
    drawn = {
        name: statistics.mean(
            sum(flops(spec, args.batch) for spec in sampler.draw(Step(args.seed, i, DRAWS))) for i in range(DRAWS)
        )
        for name, sampler in samplers.items()
    }
    drawn["aux"] = drawn["compiled"] = flops(aux, args.batch)
    result = {
        "method": method,
        "size": size,
        **GENES[method, size],
        "plain_s": statistics.median(whole for whole, _ in times["plain"]),
        "plain_peak_mb": steps["plain"].peak_bytes / 2**20,
        "kinds": {},
    }
    for name in list(steps)[1:]:
        kind = result["kinds"][name] = {}
        for part, what in enumerate(("step", "passes")):
            ratios = [a[part] / b[part] for a, b in zip(times[name], times["plain"], strict=True)]
            # a typical step of one size; the steps of drawn sizes differ, and what a training costs is their mean
            middle = statistics.mean if name in samplers else statistics.median
            kind[what] = [middle(ratios), min(ratios), max(ratios)]
        if name in drawn:
            kind["flops"] = drawn[name] / (aux.flops * args.batch)
        if name != "teacher":
            kind["peak"] = steps[name].peak_bytes / steps["plain"].peak_bytes
    if args.compile:
        result["kinds"]["compiled"]["difference"] = difference
    return result


def measure_initialisation(args: argparse.Namespace) -> dict[str, float]:
    """Seconds, and memory beside the model's own at most, of initialising one descendant from LeTs on the CPU."""
    torch.manual_seed(0)
    learngene = LeTs(**GENES["lets", "B"])
    model = VIT.make(ViTSpec.parse(args.descendant))
    initialize(model, learngene)  # a first time to warm up
    seconds = []
    peak = Peak(torch.device("cpu"))
    for _ in range(5):
        start = time.perf_counter()
        initialize(model, learngene)
        seconds.append(time.perf_counter() - start)
    return {"descendant": args.descendant, "s": statistics.median(seconds), "peak_mb": peak.grown() / 2**20}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=SHALLOWEST, default=list(SHALLOWEST))
    parser.add_argument("--sizes", nargs="+", choices=("S", "B"), default=["S", "B"], help="DeiT-S, DeiT-B")
    parser.add_argument("--descendant", metavar="SIZE", help="also time the initialisation of this size from LeTs")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn sizes")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--amp", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--tf32", action="store_true", help="TensorFloat-32 matrix products on a GPU")
    parser.add_argument("--skip-naive", action="store_true")
    parser.add_argument("--compile", action="store_true", help="also the network by torch.compile")
    parser.add_argument("--teacher", metavar="NAME", help="also the forward pass of a timm model, without its weights")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.tf32:
        torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, threads: {args.threads}",
        "precision": "bfloat16" if args.amp else "float32",
        "batch": args.batch,
        "rounds": args.rounds,
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "steps": [],
    }
    if args.descendant:
        result["initialisation"] = measure_initialisation(args)
    for size in args.sizes:
        for method in args.methods:
            result["steps"].append(measure_steps(method, size, args, device))
            if args.out:  # each as it comes: a run of hours may be stopped
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['device']}, {result['precision']}, batch {args.batch}; in steps of a plain ViT of the same shape")
    rows = [("learngene", "kind", "step", "forward and backward", "FLOPs", "peak memory")]
    for measured in result["steps"]:
        for name, kind in measured["kinds"].items():
            spans = ("{:.2f} ({:.2f} to {:.2f})".format(*kind[what]) for what in ("step", "passes"))
            more = (f"{kind[what]:.2f}" if what in kind else "" for what in ("flops", "peak"))
            rows.append((f"{measured['method']} {measured['size']}", name, *spans, *more))
    print(table(rows, "<<>>>>"))
    if init := result.get("initialisation"):
        print(f"initialising {init['descendant']}: {init['s']:.2f} s, {init['peak_mb']:.0f} MB more at peak")


if __name__ == "__main__":
    main()
