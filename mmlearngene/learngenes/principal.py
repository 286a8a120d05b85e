"""Principal learngenes: any width out of a trained ViT in closed form. Our own method, see ``docs/principal.md``.

The residual stream is turned into its principal axes inside the hyperplane that LayerNorm sees, and a narrower ViT
keeps the first of them. Relatives: SliceGPT (Ashkboos et al., ICLR 2024), SP3 (arXiv 2308.16475), CORP (arXiv
2602.05243).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import LearngeneError, check_choice
from ..vit.spec import ViTSpec
from ..vit.tensors import LAYER_TENSORS, axis_sizes, row_of
from ..vit.weights import ViTWeights
from .activations import Moments, moments
from .base import TensorTree
from .extracted import Extracted
from .facts.base import below
from .facts.principal import CONSTANT, SCALE_OF, PrincipalFacts
from .methods import register
from .refit import Gap, choose_layers, refit

TOKENS = 24  # of the images that a refit sees, for every hidden neuron
MOST = 16384  # in all
BASES = ("principal", "channels")
KEEP = ("measured", "first")
# the norm in front of what reads the residual stream
_NORM_OF = {
    "qkv": "norm1", "fc1": "norm2", "attn_pool.qkv": "norm", "attn_pool.fc1": "attn_pool.norm", "head": "norm",
    "head_dist": "norm",
}  # fmt: skip
# axes that a smaller size has fewer entries of
_SHORTER = ("head", "hidden", "pool_head", "pool_hidden")


@register
class Principal(PrincipalFacts, Extracted):
    """The tensors of an ancestry in principal coordinates, which any smaller size takes the first of.

    ``learngene.*`` has the canonical tensors but norms and LayerScale, which are absorbed. Along ``width`` stand
    coordinates, the most important first. With LayerNorm the last one is the mean, which no norm lets through; what
    reads the stream has its bias there where the spec has no other place for it. Heads and hidden neurons are in order,
    too.

    A ViT of width n takes the first n - 1 coordinates and the mean, and lays them into its channels by the reflection
    that takes the last unit vector to the mean. So it is a plain ViT, whose norms have one number for all channels.

    ``maps.gains.*`` has this number for every width. ``maps.compensation.*`` corrects ``proj`` and ``fc2`` of all
    widths but the ancestry's own, and ``maps.gaps.*`` has for every depth the fc2 in front of the layers that it leaves
    out. ``maps.basis`` takes coordinates to the ancestry's channels.
    """

    looks_at_images = True
    seen = "images"
    num_images = 500

    def _create(self) -> None:
        shapes = self.tensor_shapes()
        self.learngene = TensorTree({name: torch.zeros(shape) for name, shape in below("learngene.", shapes).items()})
        maps = {name: torch.zeros(shape) for name, shape in below("maps.", shapes).items()}
        self.maps = TensorTree({name: t + 1 if name.startswith("gains.") else t for name, t in maps.items()})

    # ------------------------------------------------------------------ extraction

    @classmethod
    def see(cls, ancestry: ViTWeights, images: Iterable[Tensor]) -> Iterable[Tensor]:
        """The images themselves."""
        return images

    @classmethod
    def extract(
        cls,
        ancestry: ViTWeights,
        images: Iterable[Tensor] | None = None,
        basis: str = "principal",
        refitted: bool = True,
        widths: Sequence[int] | None = None,
        keep: str = "measured",
        largest: str | None = None,
    ) -> Principal:
        """Turn an ancestry into principal coordinates, choose layers, and refit what writes to the stream.

        Args:
            ancestry: the trained ViT's weights.
            images: batches of preprocessed images (B, C, H, W), which can be gone through several times; without
                labels. :func:`mmlearngene.extract` reads them from ``data``.
            basis: ``principal``, or ``channels``: the ancestry's own channels and heads in their order, the control
                that says what the principal axes are worth. It takes no images, and nothing is refitted.
            refitted: whether layers are chosen and ``proj`` and ``fc2`` refitted, see :func:`.refit.refit`.
            widths: numbers of heads that the refit is for, all in one. A width that is not among them loses by it, and
                a very narrow one among them costs the others; four from half of the ancestry's on when omitted.
            keep: the layers that a depth keeps: ``measured``, those that follow the ancestry's final tokens best, see
                :func:`.refit.choose_layers`; or its ``first`` ones.
            largest: the largest size that is wanted, ``'h4-l12'``: what only larger ones need is left out.

        Raises:
            LearngeneError: there are no images, or what is computed of them is not finite; or a size is out of range.
        """
        check_choice(basis, BASES, "basis")
        check_choice(keep, KEEP, "keep")
        spec = ancestry.spec
        cls.check_treats(spec)
        turned = cls(spec, tokens=spec.num_classes == 0)
        if ancestry.tensors["patch_embed.weight"].dtype == torch.float64:
            turned.double()
        turned.target(largest)  # a wrong size is told before any work
        if basis == "channels":
            turned.turn(ancestry, None)
        elif images is None:
            raise LearngeneError(
                "principal coordinates need images: give data (a folder or an OpenMMLab config; some hundred images, "
                "without labels), or data='noise'"
            )
        else:
            found = moments(ancestry, images)
            if found.tokens < spec.embed_dims:
                more = math.ceil(spec.embed_dims * found.images / found.tokens)
                raise LearngeneError(
                    f"{found.images} images of {found.tokens} tokens in all do not tell {spec.embed_dims} coordinates; "
                    f"expected {more} images or more, some hundred for good"
                )
            turned.turn(ancestry, found)
            if refitted:
                turned = turned.refitted(images, widths, keep)
        return turned.compact(largest) if largest is not None else turned

    def refitted(
        self, images: Iterable[Tensor], widths: Sequence[int] | None = None, keep: str = "measured"
    ) -> Principal:
        """The same learngene, layers chosen for every depth, and refitted for all widths and depths.

        Args:
            images: see :meth:`extract`.
            widths: likewise.
            keep: likewise.

        Raises:
            LearngeneError: it is refitted already or not as wide as its ancestry, or a width is out of range.
        """
        spec = self.aux_spec
        self._check_whole()
        heads = self._refit_heads(widths)
        batches = self._some(images)
        kept = [list(range(depth)) for depth in range(1, spec.num_layers + 1)]
        if check_choice(keep, KEEP, "keep") == "measured":
            kept = choose_layers(self, batches)
        gaps = [_gap(layers, spec.num_layers) for layers in kept[:-1]]
        added, of_gaps = refit(self, batches, [self.target(f"h{count}-l{spec.num_layers}") for count in heads], gaps)
        result = Principal(spec, kept=kept, compensated=True, gapped=True, tokens=self.config["tokens"]).to(self._like)
        result.load_state_dict(self.state_dict(), strict=False)
        maps, own = result.maps.tensors(), result.learngene.tensors()
        with torch.no_grad():
            for name, change in added.items():
                maps[f"compensation.{name}"].copy_(change)
            for row, gap in enumerate(gaps):
                for name, change in of_gaps[gap].items():
                    maps[f"gaps.{name}"][row] = own[name][gap[0]] + change
        result.provenance = {**self.provenance, "refitted": [f"h{count}" for count in heads]}
        return result

    def fitted(self, size: str | ViTSpec, images: Iterable[Tensor], depth: str = "auto") -> Principal:
        """A learngene of one size, refitted for this size alone.

        Args:
            size: the size.
            images: see :meth:`extract`.
            depth: which layers it keeps, see :meth:`_expand`.

        Raises:
            LearngeneError: the size is out of range, or this learngene has not all that its ancestry had.
        """
        self._check_whole()
        spec = self.target(size)
        spec = spec.replace(**{n: getattr(self.aux_spec, n) for n in ("img_size", "patch_size", "num_classes")})
        bare = Principal(self.aux_spec, kept=self.config["kept"], tokens=self.config["tokens"]).to(self._like)
        bare.load_state_dict({n: t for n, t in self.state_dict().items() if n in bare.state_dict()})
        if spec != self.aux_spec:
            added, _ = refit(bare, self._some(images), [spec], depth=depth)
            with torch.no_grad():
                for name, change in added.items():
                    bare.learngene.tensors()[name].add_(change)
        bare.provenance, bare.classes = {**self.provenance, "refitted": [str(spec)]}, self.classes
        return bare.compact(spec, depth)

    def compact(self, size: str | ViTSpec, depth: str = "auto") -> Principal:
        """The learngene of all sizes up to this one: what only larger ones need is left out.

        Args:
            size: the largest size that is wanted.
            depth: which layers it keeps, see :meth:`_expand`.

        Raises:
            LearngeneError: the size is out of range.
        """
        old, spec = self.aux_spec, self.target(size)
        spec = spec.replace(**{n: getattr(old, n) for n in ("img_size", "patch_size", "num_classes")})
        layers, width, chain = self.layers(spec.num_layers, depth), spec.embed_dims, self.config["kept"]
        chain = chain if depth == "auto" else None
        if chain is not None:  # every depth keeps a part of what the next one keeps
            chain = [[layers.index(layer) for layer in kept] for kept in chain[: spec.num_layers]]
        compensated = self.config["compensated"] and width == self.dims
        gapped = self.config["gapped"] and chain is not None and spec.num_layers > 1
        result = Principal(
            spec,
            dims=self.dims,
            whole=spec == old and self.config["whole"],
            kept=chain,
            compensated=compensated,
            gapped=gapped,
            tokens=self.config["tokens"],
        ).to(self._like)
        with torch.no_grad():
            for name, tensor in result.learngene.tensors().items():
                tensor.copy_(self._part(name, spec, layers, depth, lay=False, compensate=not compensated))
            for name, tensor in result.maps.tensors().items():
                whole, axes = self.maps.tensors()[name], tensor.shape
                if name.startswith("gains."):
                    whole = whole[layers] if whole.ndim > 1 else whole
                    tensor.copy_(whole[..., :width])
                elif name.startswith(("compensation.", "gaps.")):
                    whole = whole[layers] if name.startswith("compensation.") else whole[: axes[0]]
                    tensor.copy_(self._cut(whole, name.partition(".")[2], spec))
                    if name.startswith("compensation.fc2") and len(layers) < old.num_layers and chain is not None:
                        tensor[layers.index(_gap(layers, old.num_layers)[0])] = 0  # its fc2 is the gap's own by now
                elif name in ("basis", "pool_basis"):
                    tensor.copy_(self.coordinates(whole, 1, width))
                else:
                    tensor.copy_(whole)
        result.provenance, result.classes = dict(self.provenance), self.classes
        return result

    @property
    def _like(self) -> Tensor:
        """A tensor of its type and device."""
        return next(self.learngene.parameters())

    def _check_whole(self) -> None:
        if not self.config["whole"]:
            raise LearngeneError(
                f"a refit follows the ancestry, and this learngene keeps what sizes up to {self.aux_spec} need; "
                "extract it without largest"
            )

    def _refit_heads(self, widths: Sequence[int] | None) -> list[int]:
        """Numbers of heads to refit for: those given and the ancestry's, which gaps need, too."""
        most = self.aux_spec.num_heads
        if widths is None:
            least = math.ceil(most / 2)
            widths = {round(least + part * (most - least) / 3) for part in range(4)}
        for count in widths:
            if not 1 <= count <= most:
                raise LearngeneError(f"widths={list(widths)}: {count} heads are not in 1 to {most}")
        return sorted({*widths, most})

    def _some(self, images: Iterable[Tensor]) -> list[Tensor]:
        """As many images as give :data:`TOKENS` tokens for every hidden neuron, :data:`MOST` at most; four batches."""
        spec, kept, wanted = self.aux_spec, [], None
        for batch in images:
            if wanted is None:  # images need not have the ancestry's own size
                tokens = min(MOST, TOKENS * (spec.feedforward_channels + 1))
                wanted = max(8, math.ceil(tokens / spec.replace(img_size=tuple(batch.shape[-2:])).num_tokens))
            kept.append(batch[: wanted - sum(map(len, kept))])
            if sum(map(len, kept)) >= wanted:
                break
        if (count := sum(map(len, kept))) < 2:
            raise LearngeneError(f"a refit needs two images or more, and data holds {count}")
        kept = torch.cat(kept)
        return list(kept.split(min(32, max(1, len(kept) // 4))))

    @torch.no_grad()
    def turn(self, ancestry: ViTWeights, found: Moments | None) -> None:
        """Fill the tensors with an ancestry's, turned into coordinates.

        Args:
            ancestry: of the size of :attr:`aux_spec`.
            found: its moments; without them the coordinates are its own channels in their order.
        """
        spec = self.aux_spec
        tensors = {name: torch.stack([layer[name] for layer in ancestry.layers()]) for name in spec.layer_shapes()}
        tensors = {**ancestry.stem(), **tensors}
        basis = _basis([] if found is None else [found.norms[n] for n in self.norms() if n != "attn_pool.norm"], spec)
        pool = None
        if spec.pool == "map":
            pool = _basis([] if found is None else [found.norms["attn_pool.norm"]], spec)
            # the query of the pooling is a constant, which no norm shifts
            latent = tensors["attn_pool.latent"].double() - tensors.get("norm.bias", 0)
            query = torch.einsum("hdw,w->hd", tensors["attn_pool.qkv.weight"][0].double(), latent)
            bias = tensors["attn_pool.qkv.bias"]
            tensors["attn_pool.qkv.bias"] = torch.cat([bias[:1] + query, bias[1:]])
        own = self.learngene.tensors()
        for name in own:  # one at a time in double precision
            module, _, kind = name.rpartition(".")
            in_pool = pool is not None and name.startswith(("attn_pool.proj", "attn_pool.fc", "head"))
            bare = in_pool and "head" in module  # behind attention pooling a classifier has no norm
            turned = tensors[name].double()
            if module in _NORM_OF and kind == "weight":
                turned = self._read(module, tensors, pool if in_pool else basis, bare)
            elif module in _NORM_OF:
                turned = turned + self._shift(module, tensors, bare)
            elif (axis := row_of(spec, name).axis("width")) is not None:
                of_layers = name in LAYER_TENSORS
                if (scale := tensors.get(SCALE_OF.get(module, ""))) is not None:
                    turned = turned * scale.view(*scale.shape, *[1] * (turned.ndim - 2))
                turned = _along(turned, (pool if in_pool else basis).T, axis + of_layers)
            own[name].copy_(turned)
        if found is not None:
            self._order(own, found)
        self._set_gains(found, basis, pool)
        maps = self.maps.tensors()
        for name, value in (("basis", basis), ("pool_basis", pool), *((n, tensors.get(n)) for n in maps)):
            if name in maps and value is not None:
                maps[name].copy_(value)

    def _read(self, module: str, tensors: Mapping[str, Tensor], basis: Tensor, bare: bool) -> Tensor:
        """The matrix of what reads the stream, its norm absorbed, along coordinates."""
        weight = tensors[f"{module}.weight"].double()
        gain = tensors.get(f"{_NORM_OF[module]}.weight")
        of_layers = f"{module}.weight" in LAYER_TENSORS
        if gain is None or bare:
            return _along(weight, basis.T, weight.ndim - 1)
        gain = gain.view(len(gain), *[1] * (weight.ndim - 2), -1) if of_layers else gain
        turned = _along(weight * gain, basis.T, weight.ndim - 1)
        if self.aux_spec.norm == "layernorm":  # the mean, which the norm takes away: here stands what has no bias
            turned[..., -1] = self._shifted(module, tensors) if self._carried(_NORM_OF[module]) else 0
        return turned

    def _shift(self, module: str, tensors: Mapping[str, Tensor], bare: bool) -> Tensor | float:
        """What the norm's bias adds to the bias of what reads the stream."""
        norm = _NORM_OF[module]
        return 0.0 if bare or f"{norm}.bias" not in tensors or self._carried(norm) else self._shifted(module, tensors)

    @staticmethod
    def _shifted(module: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """The matrix of what reads the stream times its norm's bias."""
        weight, bias = tensors[f"{module}.weight"].double(), tensors[f"{_NORM_OF[module]}.bias"]
        of_layers = f"{module}.weight" in LAYER_TENSORS
        bias = bias.view(len(bias), *[1] * (weight.ndim - 2), -1) if of_layers else bias
        return (weight * bias).sum(-1)

    def _carried(self, norm: str) -> bool:
        """Whether the bias of a norm goes through the mean, since what reads the stream has not all biases."""
        spec = self.aux_spec
        carried = {"norm1": spec.qkv_bias != "all", "norm2": not spec.mlp_bias}
        return spec.norm == "layernorm" and carried.get(norm, False)

    def _order(self, turned: dict[str, Tensor], found: Moments) -> None:
        """Put heads and hidden neurons in order of what they add to the stream."""
        spec = self.aux_spec
        pairs = [("head", "proj.weight", found.heads), ("hidden", "fc2.weight", found.hidden)]
        if spec.pool == "map":
            pairs += [("pool_head", "attn_pool.proj.weight", found.pool_heads[None])]
            pairs += [("pool_hidden", "attn_pool.fc2.weight", found.pool_hidden[None])]
        for axis, writer, moment in pairs:
            weight, moment = turned[writer].double(), moment.double()
            weight = weight if writer in LAYER_TENSORS else weight[None]
            if "head" in axis:  # (layers, width, head, dim): the energy of a head behind the projection
                heads = range(weight.shape[2])
                own = moment.unflatten(1, weight.shape[2:]).unflatten(3, weight.shape[2:])
                own = torch.stack([own[:, head, :, head] for head in heads], 1)  # (layers, head, dim, dim)
                added = torch.einsum("lwhd,lhde,lwhe->lh", weight, own, weight)
            else:
                added = moment * weight.square().sum(1)
            order = added.argsort(descending=True, stable=True)
            for name in turned:
                at = row_of(spec, name).axis(axis)
                if at is None:
                    continue
                if name in LAYER_TENSORS:
                    pairs_of = zip(turned[name], order, strict=True)
                    turned[name].copy_(torch.stack([tensor.index_select(at, its) for tensor, its in pairs_of]))
                else:
                    turned[name].copy_(turned[name].index_select(at, order[0]))

    def _set_gains(self, found: Moments | None, basis: Tensor, pool: Tensor | None) -> None:
        """For every norm and width the root of the share of the energy that its first coordinates hold."""
        maps = self.maps.tensors()
        for norm in self.norms():
            if found is None:
                shares = torch.linspace(0, 1, self.dims + 1, dtype=torch.float64)[1:]
                shares = shares.expand(maps[f"gains.{norm}"].shape)
            else:
                turn = pool if norm == "attn_pool.norm" else basis
                energy = torch.einsum("...vw,vi,wi->...i", found.norms[norm].double(), turn, turn).clamp_min(0)
                if self.aux_spec.norm == "layernorm":  # a width has one coordinate less, and the mean has no energy
                    energy = torch.cat([torch.zeros_like(energy[..., :1]), energy[..., :-1]], -1)
                shares = energy.cumsum(-1)
                shares = shares / shares[..., -1:]
            gains = shares.sqrt().clamp_max(1.0)
            gains[..., -1] = 1.0
            maps[f"gains.{norm}"].copy_(gains)

    def energy(self) -> list[float]:
        """For every width from 1 the share of the stream's energy that it holds, as a mean over the norms."""
        maps = self.maps.tensors()
        gains = [maps[f"gains.{norm}"].detach().double().view(-1, self.aux_spec.embed_dims) for norm in self.norms()]
        return [round(share, 4) for share in torch.cat(gains).square().mean(0).tolist()]

    # ------------------------------------------------------------------ expansion

    @classmethod
    def refuse_start(cls) -> None:
        """A principal learngene is trained on from its file."""
        raise LearngeneError(
            "a principal learngene does not start from a ViT's weights; it is trained on from its file: "
            "learngene=dict(type='mmlearngene.LoadLearngene', path=...)"
        )

    def no_weight_decay(self) -> set[str]:
        """Gains of norms, and the basis, too."""
        kept = ("maps.gains.", "maps.basis", "maps.pool_basis", "maps.norm.")
        return super().no_weight_decay() | {name for name, _ in self.named_parameters() if name.startswith(kept)}

    def _expand(self, spec: ViTSpec, *, depth: str) -> ViTWeights:
        """Take the first coordinates, heads, neurons, and some layers."""
        kept, tensors = self.layers(spec.num_layers, depth), {}
        for name, shape in spec.shapes().items():
            if name in CONSTANT:
                tensors[name] = self._constant(name, shape, kept)
            else:
                tensors[name] = self._part(name, spec, kept, depth)
        return ViTWeights(spec, tensors)

    def _part(
        self, name: str, spec: ViTSpec, kept: Sequence[int], depth: str, lay: bool = True, compensate: bool = True
    ) -> Tensor:
        """What a size has of a tensor: in its channels, or with ``lay=False`` in coordinates."""
        tensor, maps = self.learngene.tensors()[name], self.maps.tensors()
        if compensate and spec.embed_dims < self.dims and f"compensation.{name}" in maps:
            tensor = tensor + maps[f"compensation.{name}"]
        if name in LAYER_TENSORS and len(kept) < len(tensor):
            count, tensor = len(tensor), tensor[list(kept)]
            if f"gaps.{name}" in maps and depth == "auto":
                at = kept.index(_gap(kept, count)[0])
                own = maps[f"gaps.{name}"][len(kept) - 1 : len(kept)]
                tensor = torch.cat([tensor[:at], own, tensor[at + 1 :]])
        return self._cut(tensor, name, spec, lay)

    def _cut(self, tensor: Tensor, name: str, spec: ViTSpec, lay: bool = False) -> Tensor:
        """The first entries of a tensor's axes, as many as a size has."""
        sizes, of_layers = axis_sizes(spec), name in LAYER_TENSORS
        for axis, called in enumerate(row_of(spec, name).axis_names, of_layers):
            if called in _SHORTER:
                tensor = tensor.narrow(axis, 0, sizes[called])
            elif called == "width":
                width = spec.embed_dims
                tensor = self._laid(tensor, axis, width, name) if lay else self.coordinates(tensor, axis, width)
        return tensor

    def _turns_back(self, width: int) -> bool:
        """Whether a descendant has the ancestry's own channels: it is as wide, and gives tokens."""
        return self.config["tokens"] and width == self.dims and self.aux_spec.num_classes == 0

    def _laid(self, tensor: Tensor, axis: int, width: int, name: str) -> Tensor:
        """Coordinates laid into the channels of a width."""
        if self._turns_back(width):
            in_pool = name.startswith(("attn_pool.proj", "attn_pool.fc"))
            return _along(tensor, self.maps.tensors()["pool_basis" if in_pool else "basis"], axis)
        return laid(self.coordinates(tensor, axis, width), axis, self.aux_spec.norm)

    def token_map(self, width: int) -> tuple[Tensor, Tensor]:
        """The linear layer that takes tokens of a descendant to the ancestry's own channels.

        With it whatever was made for the ancestry's tokens runs on those of a descendant. Where the ancestry pools by
        attention it is what is pooled.

        Args:
            width: of the descendant.

        Returns:
            Its weight (ancestry's width, width) and bias (ancestry's width,).

        Raises:
            LearngeneError: the ancestry gives classes, or the width is out of range.
        """
        if not self.config["tokens"]:
            raise LearngeneError("tokens of the ancestry need one without a classifier, which gives tokens itself")
        self.check_width(width)
        maps = self.maps.tensors()
        pooled = self.aux_spec.pool == "map"
        basis = maps["pool_basis" if pooled else "basis"]
        if self._turns_back(width):
            weight, scale = torch.eye(width, dtype=basis.dtype), None
        else:
            weight = laid(self.coordinates(basis, 1, width), 1, self.aux_spec.norm)
            scale = None if pooled else maps.get("norm.weight")
        weight = weight if scale is None else weight * scale[:, None]
        shifted = not pooled and "norm.bias" in maps and not self._turns_back(width)
        return weight, maps["norm.bias"] if shifted else basis.new_zeros(self.dims)

    def coordinates(self, tensor: Tensor, axis: int, width: int) -> Tensor:
        """Those of a tensor's coordinates that a width has: the first ones, and the mean."""
        axis %= tensor.ndim
        stored = tensor.shape[axis]
        if width == stored:
            return tensor
        if self.aux_spec.norm == "rmsnorm":
            return tensor.narrow(axis, 0, width)
        return torch.cat([tensor.narrow(axis, 0, width - 1), tensor.narrow(axis, stored - 1, 1)], axis)

    def to_coordinates(self, stream: Tensor) -> Tensor:
        """The residual stream (..., width) of a descendant in its coordinates."""
        if self._turns_back(stream.shape[-1]):
            return stream @ self.maps.tensors()["basis"]
        return laid(stream, stream.ndim - 1, self.aux_spec.norm)

    def from_coordinates(self, stream: Tensor) -> Tensor:
        """Coordinates (..., width) as the residual stream of a descendant: the inverse of :meth:`to_coordinates`."""
        if self._turns_back(stream.shape[-1]):
            return stream @ self.maps.tensors()["basis"].T
        return laid(stream, stream.ndim - 1, self.aux_spec.norm)

    def _constant(self, name: str, shape: tuple[int, ...], kept: Sequence[int]) -> Tensor:
        """A norm's weight or bias, LayerScale, or the pooling's query, which is in the bias of queries."""
        maps, (module, _, kind), width = self.maps.tensors(), name.rpartition("."), shape[-1]
        like = maps["gains.norm1"]
        if name == "attn_pool.latent":
            return like.new_zeros(shape)
        if kind == "gamma":
            return like.new_ones(shape)
        if self._turns_back(width) and module == "norm":
            return maps[name]
        if kind == "bias":
            return like.new_full(shape, 1 / math.sqrt(width) if self._carried(module) else 0.0)
        gains = maps[f"gains.{module}"][..., width - 1 : width]
        gains = gains[kept] if name in LAYER_TENSORS else gains
        return (gains * math.sqrt(self.dims / width)).expand(shape)


def _gap(kept: Sequence[int], count: int) -> Gap:
    """The layer in front of those that are left out, and the one behind."""
    behind = [*kept[1:], count]
    return next((layer, other) for layer, other in zip(kept, behind, strict=True) if other > layer + 1)


def laid(tensor: Tensor, axis: int, norm: str) -> Tensor:
    """Coordinates in the channels of a ViT: by the Householder reflection that takes the last axis to the mean.

    Args:
        tensor: with coordinates along ``axis``, the mean last where the norm is a LayerNorm.
        axis: of the coordinates.
        norm: ``layernorm``, or ``rmsnorm``, where coordinates are channels.

    Returns:
        A tensor of the same shape with channels along ``axis``. The reflection is its own inverse.
    """
    width = tensor.shape[axis]
    if norm == "rmsnorm" or width == 1:
        return tensor
    mirror = tensor.new_full((width,), -1 / math.sqrt(width))
    mirror[-1] += 1
    mirror = mirror / mirror.norm()
    turned = torch.tensordot(tensor, mirror, ([axis], [0])).unsqueeze(axis)
    return tensor - 2 * turned * mirror.view(-1, *[1] * (tensor.ndim - 1 - axis))


def _along(tensor: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """A matrix applied along an axis."""
    return torch.tensordot(tensor, matrix.to(tensor), ([axis], [1])).movedim(-1, axis)


def _basis(found: Sequence[Tensor], spec: ViTSpec) -> Tensor:
    """An orthonormal basis of the residual stream (width, width), its columns in order of importance.

    Args:
        found: second moments (..., width, width) in front of the norms, which are summed up; empty for the channels in
            their own order.
        spec: of the ancestry. With LayerNorm the last column is the mean, and the others are in its hyperplane.
    """
    width = spec.embed_dims
    if spec.norm == "rmsnorm":
        return torch.linalg.eigh(_total(found))[1].flip(1) if found else torch.eye(width, dtype=torch.float64)
    # the reflection that takes the last axis to the mean: every other channel stays where it was, nearly
    reflection = laid(torch.eye(width, dtype=torch.float64), 0, "layernorm")
    if not found:
        return reflection
    hyperplane = reflection[:, :-1]
    axes = torch.linalg.eigh(hyperplane.T @ _total(found) @ hyperplane)[1].flip(1)
    return torch.cat([hyperplane @ axes, hyperplane.new_full((width, 1), 1 / math.sqrt(width))], 1)


def _total(found: Sequence[Tensor]) -> Tensor:
    total = sum(moment.double().flatten(0, -3).sum(0) if moment.ndim > 2 else moment.double() for moment in found)
    return (total + total.T) / 2
