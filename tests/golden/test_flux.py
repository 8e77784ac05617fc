"""Flux and its relatives against diffusers: one call of each net, from files of either spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ChromaTransformer2DModel, Flux2Transformer2DModel, FluxTransformer2DModel, LongCatImageTransformer2DModel
from torch import Tensor

from backend.families import longcat, shelf
from backend.families.chroma.names import CHROMA
from backend.families.flux import names
from backend.families.flux2.names import FLUX2
from backend.families.load import load_diffusion_model
from backend.memory.pool import Pool
from backend.nn.patchify import to_tokens
from backend.weights.file import Origin, Piece
from backend.weights.save import save_safetensors
from tests.families import tiny

CLOSE = 1e-5
FluxNet: Any = FluxTransformer2DModel
ChromaNet: Any = ChromaTransformer2DModel
Flux2Net: Any = Flux2Transformer2DModel
LongCatNet: Any = LongCatImageTransformer2DModel
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


def saved(theirs: Any, spelled: Any, folder: bool, tmp: Path) -> Path:
    """A net as diffusers saves it, or as a single file."""
    if folder:
        theirs.save_pretrained(tmp / "transformer")
        return tmp / "transformer"
    save_safetensors(tmp / "m.safetensors", published(theirs.state_dict(), spelled.from_diffusers(theirs.state_dict())))
    return tmp / "m.safetensors"


@pytest.mark.parametrize("folder", [True, False])
def test_chroma(folder: bool, tmp_path: Path) -> None:
    config = {key: value for key, value in FLUX.items() if key not in ("pooled_projection_dim", "guidance_embeds")}
    theirs = lively(ChromaNet(**config, approximator_num_channels=16, approximator_hidden_dim=24, approximator_layers=2))
    path = saved(theirs, CHROMA, folder, tmp_path)
    x, context = torch.randn(1, 16, 6, 8), torch.randn(1, 5, 24)
    got = run(path, {"cross_attn": context}, x, 0.7, tmp_path, "Chroma")
    with torch.no_grad():
        padded, mask = torch.cat([context, torch.randn(1, 3, 24)], 1), torch.tensor([[1.0] * 5 + [0.0] * 3 + [1.0] * 12])
        want = theirs(to_tokens(x, 2, False), padded, torch.tensor([0.7]), ids(3, 4), torch.zeros(8, 3), mask.bool()).sample
    assert (to_tokens(got, 2, False) - want).abs().max() < CLOSE


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("guided", [True, False])
def test_flux2(folder: bool, guided: bool, tmp_path: Path) -> None:
    theirs = lively(Flux2Net(
        in_channels=128, num_layers=2, num_single_layers=2, attention_head_dim=HEAD, num_attention_heads=HEADS, joint_attention_dim=24,
        axes_dims_rope=(8, 8, 8, 8), guidance_embeds=guided))  # fmt: skip
    path = saved(theirs, FLUX2, folder, tmp_path)
    x, context, reference = torch.randn(1, 128, 3, 4), torch.randn(1, 5, 24), torch.randn(1, 128, 2, 2)
    cond = {"cross_attn": context, "guidance": 2.5, "reference_latents": [reference]}
    got = run(path, cond, x, 0.7, tmp_path, "Flux 2")
    img, second = (torch.nn.functional.pad(each, (0, 1)) for each in (ids(3, 4), ids(2, 2, 10)))
    txt = torch.nn.functional.pad(torch.arange(5.0)[:, None], (3, 0))
    with torch.no_grad():
        want = theirs(
            torch.cat([to_tokens(x, 1, False), to_tokens(reference, 1, False)], 1), context, torch.tensor([0.7]),
            torch.cat([img, second]), txt, torch.tensor([2.5]) if guided else None,
        ).sample[:, :12]  # fmt: skip
    assert (to_tokens(got, 1, False) - want).abs().max() < CLOSE


@pytest.mark.parametrize("folder", [True, False])
def test_longcat(folder: bool, tmp_path: Path) -> None:
    config = {key: value for key, value in FLUX.items() if key != "guidance_embeds"}
    theirs = lively(LongCatNet(**config))
    path = saved(theirs, longcat.NAMES, folder, tmp_path)
    x, context, reference = torch.randn(1, 16, 6, 8), torch.randn(1, 5, 24), torch.randn(1, 16, 4, 4)
    cond = {"cross_attn": context, "reference_latents": [reference / 0.3611 + 0.1159]}
    got = run(path, cond, x, 0.7, tmp_path, "LongCat-Image")
    both = torch.cat([ids(3, 4, 1, 512, 512), ids(2, 2, 2, 512, 512)])
    txt = torch.arange(5.0)[:, None] * torch.tensor([0.0, 1, 1])
    with torch.no_grad():
        tokens = torch.cat([to_tokens(x, 2, False), to_tokens(reference, 2, False)], 1)
        want = theirs(tokens, context, torch.tensor([0.7]), both, txt).sample[:, :12]
    assert (to_tokens(got, 2, False) - want).abs().max() < CLOSE
