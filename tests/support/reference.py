"""What a ViT computes, written out from the words of its spec: no layer, table or class of any framework."""

import math

import torch
from torch.nn import functional as F

ACTS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
}


def reference(weights, images):
    """Logits, or what is pooled where there are no classes, of images (B, C, H, W); neither windows nor rotation."""
    spec, stem = weights.spec, weights.stem()
    x = F.conv2d(images, stem["patch_embed.weight"], stem.get("patch_embed.bias"), stride=spec.patch_size)
    x = x.flatten(2).transpose(1, 2)
    if spec.patch_norm:
        x = _norm(x, stem, "patch_norm", spec)
    positions = stem.get("pos_embed", 0)
    prefix = [stem[name].reshape(-1, x.shape[-1]) for name in ("cls_token", "dist_token", "reg_tokens") if name in stem]
    x = x + positions if spec.no_embed_class else x
    x = torch.cat([*(rows.expand(len(x), *rows.shape) for rows in prefix), x], 1)
    x = x if spec.no_embed_class else x + positions
    if spec.pre_norm:
        x = _norm(x, stem, "norm_pre", spec)
    for layer in weights.layers():
        for number, branch in enumerate((_attention, _mlp), 1):
            scale, name = layer.get(f"ls{number}.gamma", 1), f"norm{number}"
            if spec.post_norm:
                x = x + scale * _norm(branch(x, layer, spec), layer, name, spec)
            else:
                x = x + scale * branch(_norm(x, layer, name, spec), layer, spec)
    x = _pooled(x, stem, spec)
    if not spec.num_classes:
        return x[0]
    heads = ("head", "head_dist")[: len(x)]
    logits = [F.linear(of, stem[f"{name}.weight"], stem[f"{name}.bias"]) for of, name in zip(x, heads, strict=True)]
    return sum(logits) / len(logits)


def _norm(x, tensors, name, spec):
    weight, bias = tensors[f"{name}.weight"].flatten(), tensors.get(f"{name}.bias", torch.zeros(())).flatten()
    if spec.norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + spec.norm_eps) * weight + bias


def _attention(x, layer, spec):
    q, k, v = torch.einsum("bnc,phdc->pbhnd", x, layer["qkv.weight"])
    biases = layer.get("qkv.bias", torch.zeros(2, 1, 1))[:, None, :, None]
    q, v = q + biases[0], v + biases[-1]
    k = k + biases[1] if spec.qkv_bias == "all" else k
    if spec.qk_norm:
        q, k = _norm(q, layer, "q_norm", spec), _norm(k, layer, "k_norm", spec)
    logits = q @ k.mT / math.sqrt(spec.head_dim)
    if spec.rel_pos_bias:
        logits = logits + _relative(layer["bias_table"], spec)
    out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    if spec.scale_attn_norm:
        out = _norm(out, layer, "attn_norm", spec)
    return F.linear(out, layer["proj.weight"].flatten(1), layer.get("proj.bias"))


def _relative(table, spec):
    """Rows of a table (offsets, heads) for every pair of tokens; the last three are those of a class token."""
    rows, columns = spec.grid
    places = [(row, column) for row in range(rows) for column in range(columns)]
    patches = [[(a - c + rows - 1) * (2 * columns - 1) + b - d + columns - 1 for c, d in places] for a, b in places]
    if spec.class_token:
        count = len(table)
        patches = [[count - 1, *[count - 3] * len(places)], *([count - 2, *row] for row in patches)]
    return table[torch.tensor(patches)].permute(2, 0, 1)


def _mlp(x, layer, spec):
    weight, bias = layer["fc1.weight"], layer.get("fc1.bias")
    if spec.mlp == "mlp":
        x = ACTS[spec.act](F.linear(x, weight, bias))
    else:
        gate, x = (F.linear(x, weight[i], None if bias is None else bias[i]) for i in (0, 1))
        x = F.silu(gate) * x
    if spec.scale_mlp_norm:
        x = _norm(x, layer, "mlp_norm", spec)
    return F.linear(x, layer["fc2.weight"], layer.get("fc2.bias"))


def _pooled(x, stem, spec):
    """What the heads see: of the class token, and of the distillation token where there is one."""
    patches = x if spec.pool_include_prefix else x[:, spec.num_prefix_tokens :]
    if spec.pool == "avg_norm":
        x, patches = patches.mean(1, keepdim=True), None
    if spec.final_norm:
        x, patches = (t if t is None else _norm(t, stem, "norm", spec) for t in (x, patches))
    if spec.pool == "norm_avg":
        return [patches.mean(1)]
    if spec.pool != "map":
        return [x[:, 0], x[:, 1]] if spec.dist_token else [x[:, 0]]
    pool = {name.removeprefix("attn_pool."): tensor for name, tensor in stem.items()}
    query = pool["latent"].expand(len(x), 1, -1)
    (q, _, _), (_, k, v) = (
        torch.einsum("bnc,phdc->pbhnd", of, pool["qkv.weight"]) + pool["qkv.bias"][:, None, :, None]
        for of in (query, patches)
    )
    out = ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)
    out = F.linear(out, pool["proj.weight"].flatten(1), pool["proj.bias"])
    act = ACTS[spec.act if spec.mlp == "mlp" else "silu"]
    hidden = act(F.linear(_norm(out, pool, "norm", spec), pool["fc1.weight"], pool["fc1.bias"]))
    return [(out + F.linear(hidden, pool["fc2.weight"], pool["fc2.bias"]))[:, 0]]
