"""Chroma Radiance: its pixels, patch by patch, against the formulas written out; its sizes, options and files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.diffusion.guiders import BasicGuider
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.families import shelf
from backend.families.chroma.radiance import RadianceNet, RadianceSizes
from backend.families.load import load_diffusion_model
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from nodes.flux import chroma_radiance_options
from tests.families import tiny
from tests.families.fluxes import TEXT
from tests.nodes.bench import Bench


def twin(**more: Any) -> tuple[RadianceSizes, dict[str, Tensor]]:
    sizes = RadianceSizes(
        channels=3, patch=4, width=64, heads=2, hidden=256, doubles=1, singles=1, context=TEXT, pooled=0, guidance=False, told=16,
        teller=24, layers=2, painter=8, depth=2, waves=3, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    net = RadianceNet(sizes)
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if name.endswith("scale") else 0.0, 0.1)
    return sizes, {name: value.detach().clone() for name, value in net.named_parameters()}


def painted(state: dict[str, Tensor], seen: Tensor, token: Tensor) -> Tensor:
    """One patch [3, 4, 4] from its token [width] -> [8, 4, 4]."""
    x = torch.zeros(16, 3 + 9)
    for row in range(4):
        for column in range(4):
            x[row * 4 + column, :3] = seen[:, row, column]
            for i in range(3):
                for j in range(3):
                    wave = math.cos(column / 3 * i * math.pi) * math.cos(row / 3 * j * math.pi) / (1 + i * j)
                    x[row * 4 + column, 3 + i * 3 + j] = wave
    x = F.linear(x, state["nerf_image_embedder.embedder.0.weight"], state["nerf_image_embedder.embedder.0.bias"])
    for n in range(2):
        made = F.linear(token, state[f"nerf_blocks.{n}.param_generator.weight"], state[f"nerf_blocks.{n}.param_generator.bias"])
        gate, value = (w.reshape(8, 32) for w in (made[:256], made[256:512]))
        out = made[512:].reshape(32, 8)
        gate, value, out = (w / w.norm(dim=0) for w in (gate, value, out))
        h = x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"nerf_blocks.{n}.norm.scale"]
        x = x + (F.silu(h @ gate) * (h @ value)) @ out
    return x.T.reshape(8, 4, 4)


@pytest.mark.parametrize("convolved", [True, False])
@torch.no_grad()
def test_pixels(convolved: bool) -> None:
    sizes, state = twin(convolved=convolved)
    net = RadianceNet(sizes)
    net.load_state_dict(state)
    seen, tokens = torch.randn(1, 3, 8, 12), torch.randn(1, 6, 64)
    whole = torch.zeros(1, 8, 8, 12)
    for n in range(6):
        top, left = n // 3 * 4, n % 3 * 4
        whole[0, :, top : top + 4, left : left + 4] = painted(state, seen[0, :, top : top + 4, left : left + 4], tokens[0, n])
    name = "nerf_final_layer_conv" if convolved else "nerf_final_layer"
    normed = whole / (whole.pow(2).mean(1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.norm.scale"][:, None, None]
    if convolved:
        want = F.conv2d(normed, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"], padding=1)
    else:
        want = F.linear(normed.movedim(1, -1), state[f"{name}.linear.weight"], state[f"{name}.linear.bias"]).movedim(-1, 1)
    assert (net.finished(tokens, tokens, seen, None) - want).abs().max() < 1e-5


@pytest.mark.parametrize("clean", [True, False])
def test_files(clean: bool, tmp_path: Path) -> None:
    sizes, state = twin(clean=clean)
    marks = {"__x0__": torch.zeros(0)} if clean else {}
    save_safetensors(tmp_path / "m.safetensors", state | marks)
    model = load_diffusion_model(tmp_path / "m.safetensors", tiny.services(tmp_path))
    header = {name: Entry(tuple(value.shape), value.dtype, value.nbytes) for name, value in state.items()}
    assert model.sizes == sizes and [family.name for family in shelf() if family.signature.matches(header)] == ["Chroma Radiance"]
    noise, prompt = prepare_noise(torch.zeros(1, 3, 10, 16), 3), torch.randn(1, 5, TEXT)
    ctx, sigmas, made = Bench(tmp_path / "home").context(), schedule("simple", model.noise, 3), []
    for tile in (-1, 0, 5):
        tiled = chroma_radiance_options(ctx, model=model, preserve_wrapper=True, start_sigma=1.0, end_sigma=0.0, nerf_tile_size=tile)
        made.append(sample(BasicGuider(tiled, [[prompt, {}]]), noise, torch.zeros_like(noise), solver("euler"), sigmas, pool=Pool("cpu")))
    assert made[0].shape == noise.shape and all((other - made[0]).abs().max() < 1e-5 for other in made[1:])
