"""Flux and its relatives against diffusers: one call of each net, from files of either spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from backend.families import shelf
from backend.families.flux import names
from backend.families.load import load_diffusion_model
from backend.memory.pool import Pool
from backend.nn.patchify import to_tokens
from backend.weights.file import Origin, Piece
from backend.weights.save import save_safetensors
from tests.families import tiny

CLOSE = 1e-5
FluxNet: Any = FluxTransformer2DModel
HEADS, HEAD = 2, 32
FLUX: dict[str, Any] = {
    "in_channels": 64, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": HEAD, "num_attention_heads": HEADS,
    "joint_attention_dim": 24, "pooled_projection_dim": 12, "guidance_embeds": True, "axes_dims_rope": (4, 14, 14),
}  # fmt: skip


def lively(net: Any) -> Any:
    """Weights so large that every part matters."""
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name and parameter.ndim == 1 and "linear" not in name else 0.0, 0.1)
    return net.eval()


def published(state: dict[str, Tensor], spelled: dict[str, Origin]) -> dict[str, Tensor]:
    """A diffusers net under the names of single files."""

    def made(origin: Origin) -> Tensor:
        pieces = (Piece(origin),) if isinstance(origin, str) else origin
        return torch.cat([piece.cut(state[piece.key]) for piece in pieces]).contiguous()

    used = [key for origin in spelled.values() for key in ((origin,) if isinstance(origin, str) else {piece.key for piece in origin})]
    assert sorted(used) == sorted(state), set(state) - set(used)
    return {name: made(origin) for name, origin in spelled.items()}


def ids(height: int, width: int, number: int = 0, row: int = 0, column: int = 0) -> Tensor:
    """Places of a picture's tokens as diffusers counts them."""
    rows, columns = torch.meshgrid(torch.arange(height) + row, torch.arange(width) + column, indexing="ij")
    return torch.stack([torch.full_like(rows, number), rows, columns], -1).reshape(-1, 3).float()


def run(path: Path, cond: dict[str, Any], x: Tensor, sigma: float, tmp: Path, name: str) -> Tensor:
    """One call of the net in a file, told what sampling would tell it."""
    model = load_diffusion_model(path, tiny.services(tmp))
    assert model.family.name == name
    header = model.loadable.source.file  # type: ignore[attr-defined]
    assert [family.name for family in shelf() if family.signature.matches(header)] == [name]
    told = model.family.inputs([cond], model.sizes, x.shape)
    with torch.no_grad(), Pool("cpu").lease(model.leasable()) as net:
        return model.family.forward(net, x, torch.tensor([sigma] * len(x)), told)


@pytest.mark.parametrize("layout", ["single", "checkpoint", "folder"])
@pytest.mark.parametrize("guided", [True, False])
def test_flux(layout: str, guided: bool, tmp_path: Path) -> None:
    theirs = lively(FluxNet(**{**FLUX, "guidance_embeds": guided}))
    path = tmp_path / "transformer"
    if layout == "folder":
        theirs.save_pretrained(path)
    else:
        state = published(theirs.state_dict(), names.from_diffusers(theirs.state_dict()))
        prefix = "model.diffusion_model." if layout == "checkpoint" else ""
        path = tmp_path / "flux.safetensors"
        save_safetensors(path, {prefix + key: value for key, value in state.items()})
    x, context, pooled, reference = torch.randn(1, 16, 6, 8), torch.randn(1, 5, 24), torch.randn(1, 12), torch.randn(1, 16, 4, 4)
    cond = {"cross_attn": context, "pooled_output": pooled, "guidance": 2.5, "reference_latents": [reference / 0.3611 + 0.1159]}
    got = run(path, cond, x, 0.7, tmp_path, "Flux" if guided else "Flux Schnell")
    with torch.no_grad():
        want = theirs(
            torch.cat([to_tokens(x, 2, False), to_tokens(reference, 2, False)], 1), context, pooled, torch.tensor([0.7]),
            torch.cat([ids(3, 4), ids(2, 2, 1)]), torch.zeros(5, 3), torch.tensor([2.5]) if guided else None,
        ).sample[:, :12]  # fmt: skip
    assert (to_tokens(got, 2, False) - want).abs().max() < CLOSE
