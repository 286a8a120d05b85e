"""Whether timm's own weights of a model can be had: from a cache, or over the network."""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path

import torch

from ..errors import LearngeneError

_SECONDS = 3


def demand_pretrained(model_name: str) -> None:
    """Say within seconds whether ``pretrained=True`` can work; timm and its hub would try for a minute.

    Raises:
        LearngeneError: timm has no weights of this model, or they are in no cache and cannot be downloaded; names the
            cache and the way out.
    """
    import timm
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(model_name)
    if cfg is None or not cfg.has_weights:
        raise LearngeneError(f"timm has no weights of {model_name!r}; expected checkpoint=FILE")
    if cfg.file:
        return
    if cfg.hf_hub_id:
        cache, repository = constants.HF_HUB_CACHE, cfg.hf_hub_id.partition("@")[0]
        files = [cfg.hf_hub_filename] if cfg.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        cached = any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)
        url, offline = hf_hub_url(repository, files[0]), constants.HF_HUB_OFFLINE
    else:
        cache, url, offline = Path(torch.hub.get_dir(), "checkpoints"), cfg.url, False
        cached = (cache / Path(url).name).is_file()
    if cached or (not offline and _answers(url)):
        return
    raise LearngeneError(
        f"the weights of {model_name!r} are not in the cache {cache}, and {url} cannot be reached; "
        "expected a file of them as checkpoint=FILE"
    )


def _answers(url: str) -> bool:
    """Whether a server has this file; a name server that does not answer must not hold anybody up."""
    found = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS):
                found.append(True)
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return bool(found)
