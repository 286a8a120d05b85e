"""What an Aux-Net costs: a training step of it, of a plain ViT of its shape, and of a naive expansion, taken in turn.

    python tools/benchmarks/step_cost.py                      LeTs at DeiT-B size on this machine
    python tools/benchmarks/step_cost.py --batch 64 --amp     the same on a GPU, in bfloat16

A step is forward, backward and AdamW; the plain ViT has more to update than the learngene, so the ratio of forward and
backward alone is given too. All three run in one process, one step each per round, and ratios are taken within a
round: a machine that slows down slows all of them. The naive expansion generates every Aux layer on its own, as the
released LeTs code does. Elastic training takes smaller sizes: ``uniform`` steps have one that is drawn from all between
learngene and Aux-Net, ``sandwich`` steps the Aux-Net and a drawn one, so their cost is a mean over the rounds' draws.
Then the time and peak memory of initialising one descendant.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmlearngene import ViTSpec, initialize
from mmlearngene.layouts.timm import VIT
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.models.sizes import SandwichSizes, SizeSampler, Step, UniformSizes
from mmlearngene.weights import ViTWeights

DRAWS = 1000  # over which the FLOPs of elastic steps are averaged


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

    def __call__(self) -> tuple[float, float]:
        """Seconds of one step: the whole of it, and forward and backward alone."""
        synchronize(self.inputs.device)
        start = time.perf_counter()
        with self.context:
            loss = self.forward(self.inputs).float().square().mean()
        loss.backward()
        synchronize(self.inputs.device)
        passes = time.perf_counter() - start
        self.optimizer.step()
        self.optimizer.zero_grad()
        synchronize(self.inputs.device)
        return time.perf_counter() - start, passes


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure_steps(args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Median seconds of a step of each kind, and ratios over the plain ViT: medians, or means over drawn sizes."""
    torch.manual_seed(0)
    with device:
        learngene, inputs = LeTs(args.learngene, args.aux), torch.randn(args.batch, 3, 224, 224)
        plain = VIT.make(learngene.aux_spec)
    small, aux = learngene.learngene_spec, learngene.aux_spec
    ends = dict(heads=[small.num_heads, aux.num_heads], layers=[small.num_layers, aux.num_layers])
    samplers = {
        "uniform": UniformSizes(learngene, **ends),
        "sandwich": SandwichSizes(learngene, **ends, count=1, smallest=False),
    }

    @functools.cache
    def template_of(spec: ViTSpec) -> nn.Module:
        with torch.device("meta"):
            return VIT.make(spec)

    def run(weights: ViTWeights, inputs: Tensor) -> Tensor:
        return functional_call(template_of(weights.spec), VIT.state_dict(weights), (inputs,))

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
    if not args.skip_naive:
        steps["naive"] = Stepper(learngene, lambda x: run(naive_expand(learngene), x), inputs, args.amp)
    for step in steps.values():
        for _ in range(2):
            step()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(step())
    result = {f"{name}_s": statistics.median(whole for whole, _ in seconds) for name, seconds in times.items()}
    for name in list(steps)[1:]:
        for part, what in enumerate(("ratio", "passes_ratio")):
            ratios = [a[part] / b[part] for a, b in zip(times[name], times["plain"], strict=True)]
            # a typical step of one size; the steps of drawn sizes differ, and what a training costs is their mean
            middle = statistics.mean if name in samplers else statistics.median
            result[f"{name}_{what}"] = middle(ratios)
            result |= {f"{name}_{what}_min": min(ratios), f"{name}_{what}_max": max(ratios)}
    for name, sampler in samplers.items():  # of the networks, without the expansion
        draws = [sum(spec.flops for spec in sampler.draw(Step(args.seed, i, DRAWS))) for i in range(DRAWS)]
        result[f"{name}_flops_ratio"] = statistics.mean(draws) / aux.flops
    return result


def measure_initialisation(args: argparse.Namespace) -> dict[str, float]:
    """Seconds and peak memory in MB, beside the model's own, of initialising one descendant on the CPU."""
    import resource

    torch.manual_seed(0)
    learngene = LeTs(args.learngene, args.aux)
    model = VIT.make(ViTSpec.parse(args.descendant))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    initialize(model, learngene)  # a first time to warm up
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        initialize(model, learngene)
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"init_s": statistics.median(seconds), "init_extra_peak_mb": (after - before) / 1024}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learngene", default="h6-l8")
    parser.add_argument("--aux", default="h12-l16")
    parser.add_argument("--descendant", default="h12-l12", help="size whose initialisation is timed")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn sizes")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--amp", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--tf32", action="store_true", help="TensorFloat-32 matrix products on a GPU")
    parser.add_argument("--skip-naive", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.tf32:
        torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = measure_initialisation(args) | measure_steps(args, device)
    if args.json:
        print(json.dumps(result))
        return
    print(f"{device}, batch {args.batch}, {args.threads} threads, learngene {args.learngene}, Aux-Net {args.aux}")
    print(f"step of the plain ViT: {result['plain_s']:.3f} s")
    titles = dict(aux="Aux-Net", uniform="elastic, uniform", sandwich="elastic, sandwich", naive="naive expansion")
    for name, title in titles.items():
        for what, part in (("ratio", "with AdamW"), ("passes_ratio", "forward and backward")):
            if f"{name}_{what}" in result:
                low, middle, high = (result[f"{name}_{what}{end}"] for end in ("_min", "", "_max"))
                print(f"{title + ', ' + part:<39} {middle:.2f} plain ViTs ({low:.2f} to {high:.2f})")
        if f"{name}_flops_ratio" in result:
            print(f"{title + ', FLOPs':<39} {result[f'{name}_flops_ratio']:.2f} plain ViTs ({DRAWS} draws)")
    print(
        f"initialising {args.descendant}: {result['init_s']:.2f} s, {result['init_extra_peak_mb']:.0f} MB more at peak"
    )


if __name__ == "__main__":
    main()
