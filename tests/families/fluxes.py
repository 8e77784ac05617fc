"""Tiny random twins of Flux and its relatives, and their files."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from backend.families import longcat
from backend.families.chroma.names import CHROMA
from backend.families.flux.names import FLUX
from backend.families.flux2.names import FLUX2
from backend.weights.file import Origin, Piece
from backend.weights.save import save_safetensors

TEXT, POOLED = 24, 12
BASE: dict[str, Any] = {
    "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": TEXT,
    "in_channels": 64, "axes_dims_rope": (4, 14, 14),
}  # fmt: skip
KINDS: Mapping[str, tuple[str, dict[str, Any], Any]] = {
    "Flux": ("FluxTransformer2DModel", {"pooled_projection_dim": POOLED, "guidance_embeds": True}, FLUX),
    "Flux Schnell": ("FluxTransformer2DModel", {"pooled_projection_dim": POOLED, "guidance_embeds": False}, FLUX),
    "Chroma": (
        "ChromaTransformer2DModel",
        {"approximator_num_channels": 16, "approximator_hidden_dim": 24, "approximator_layers": 2},
        CHROMA,
    ),
    "Flux 2": ("Flux2Transformer2DModel", {"in_channels": 128, "axes_dims_rope": (8,) * 4, "guidance_embeds": True}, FLUX2),
    "LongCat-Image": ("LongCatImageTransformer2DModel", {"pooled_projection_dim": POOLED}, longcat.NAMES),
}
"""By family: diffusers' class, what it differs in, and how names are spelled."""


@functools.cache
def net(kind: str, **more: Any) -> Any:
    """A twin; weights are so large that every part matters."""
    name, config, _ = KINDS[kind]
    torch.manual_seed(0)
    made = getattr(diffusers, name)(**{**BASE, **config, **more})
    for key, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in key and parameter.ndim == 1 and "linear" not in key else 0.0, 0.1)
    return made.eval()


def single(kind: str, theirs: Any, prefix: str = "") -> dict[str, Tensor]:
    """Its weights under the names of single files."""
    state = theirs.state_dict()
    spelled = KINDS[kind][2].from_diffusers(state)
    used = [key for origin in spelled.values() for key in ((origin,) if isinstance(origin, str) else {piece.key for piece in origin})]
    assert sorted(used) == sorted(state), set(state) - set(used)
    return {prefix + name: _made(origin, state) for name, origin in spelled.items()}


def _made(origin: Origin, state: Mapping[str, Tensor]) -> Tensor:
    pieces = (Piece(origin),) if isinstance(origin, str) else origin
    return torch.cat([piece.cut(state[piece.key]) for piece in pieces]).contiguous()


def saved(kind: str, folder: Path, layout: str = "single", **more: Any) -> Path:
    """A twin in a file, or in a folder as diffusers saves it."""
    theirs = net(kind, **more)
    if layout == "folder":
        theirs.save_pretrained(folder / "transformer")
        return folder / "transformer"
    path = folder / "net.safetensors"
    save_safetensors(path, single(kind, theirs, "model.diffusion_model." if layout == "checkpoint" else ""))
    return path
