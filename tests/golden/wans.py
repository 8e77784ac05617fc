"""Tiny nets of Wan and their twins in diffusers, and what both are run with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from backend.diffusion.conditioning import Entry
from backend.diffusion.handle import ModelHandle
from backend.diffusion.window import Window
from backend.families.load import load_diffusion_model
from backend.families.wan.names import from_diffusers, to_diffusers
from backend.memory.pool import Pool
from backend.weights.file import Piece
from backend.weights.save import save_safetensors
from tests.families import tiny
from tests.families.waits import unasked

POOL, TEXT = Pool("cpu"), 20
SMALL: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 32, "text_dim": TEXT, "ffn_dim": 48, "num_layers": 2}


def lively(net: nn.Module) -> Any:
    """The net with norms, tables and biases that matter."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "norm" in name or "pos_embed" in name or "padding" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.eval()


def plain(**more: Any) -> WanTransformer3DModel:
    torch.manual_seed(41)
    made: WanTransformer3DModel = lively(WanTransformer3DModel(**{**SMALL, **more}))
    return made


def single(net: nn.Module) -> dict[str, Tensor]:
    """Its weights under the names of published single files."""
    state, made = net.state_dict(), {}
    for name, origin in from_diffusers(state).items():
        pieces = (Piece(origin),) if isinstance(origin, str) else origin
        made[name] = torch.cat([state[piece.key] for piece in pieces])
    return made


def loaded(weights: Mapping[str, Tensor], path: Path) -> ModelHandle:
    """By the way that people's files go; the names of diffusers lead back."""
    save_safetensors(path / "m.safetensors", {f"model.diffusion_model.{name}": value.contiguous() for name, value in weights.items()})
    return load_diffusion_model(path / "m.safetensors", tiny.services(path))


def of(theirs: nn.Module, path: Path) -> ModelHandle:
    model = loaded(single(theirs), path)
    there = to_diffusers(model.sizes, model.loadable.source)
    keys = {piece.key for origin in there.values() for piece in ((Piece(origin),) if isinstance(origin, str) else origin)}
    assert keys == set(theirs.state_dict())
    return model


@torch.no_grad()
def run(model: ModelHandle, x: Tensor, t: Tensor, taps: Any = None, **cond: Any) -> Tensor:
    """What the net makes of x at times t under an entry of the conditioning. It may ask the device nothing on its way."""
    with torch.inference_mode(), POOL.lease(model.leasable()) as leased:
        made: dict[str, Any] = dict(model.family.inputs([cond], model.sizes, x.shape))
        more: dict[str, Any] = {"taps": taps, "facts": {}} if taps else {}
        with unasked(x, t, made):
            return model.family.forward(leased, x, t, made | more)


@torch.no_grad()
def shown_some(model: ModelHandle, x: Tensor, t: Tensor, frames: list[int], **cond: Any) -> Tensor:
    """What the net makes where it is shown only these frames of a film that an entry of the conditioning is for."""
    made = model.family.inputs([cond], model.sizes, x.shape)
    seen = Window(tuple(x.shape), {2: frames}).entry(Entry({}, inputs=made), model.family.along)  # type: ignore[attr-defined]
    assert seen is not None
    with torch.inference_mode(), POOL.lease(model.leasable()) as leased:
        return model.family.forward(leased, x[:, :, frames], t, dict(seen.inputs))


def prompt(text: Tensor) -> Tensor:
    """As the nets see it: filled up."""
    return torch.nn.functional.pad(text, (0, 0, 0, 512 - text.shape[1]))


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())
