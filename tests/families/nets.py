"""A net of another library and ours on the same weights and the same input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backend.diffusion.guiders import Guider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families import shelf
from backend.families.load import load_diffusion_model
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from tests.families import tiny
from tests.families.waits import Waits

NEAR = 1e-5


def randomised(net: nn.Module, seed: int = 0, std: float = 0.2) -> nn.Module:
    """The net with every weight drawn: what libraries start at zero would hide mistakes."""
    torch.manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net.eval()


def load(state: dict[str, Tensor], tmp_path: Path) -> ModelHandle:
    """A diffusion model from weights in a file, which exactly one family knows."""
    path = tmp_path / "net.safetensors"
    save_safetensors(path, {key: value.contiguous() for key, value in state.items()})
    return load_diffusion_model(path, tiny.services(tmp_path))


def knowing(state: dict[str, Tensor]) -> list[str]:
    """The names of all families that take the weights for theirs."""
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in state.items()}
    return [family.name for family in shelf() if family.signature.matches(header)]


@torch.no_grad()
def call(model: ModelHandle, x: Tensor, sigma: Tensor, cond: dict[str, Any], **more: Any) -> Tensor:
    """What the net predicts of x at sigmas [B], by the way that sampling takes; `more` for the net, as it is. A net that asks the device
    something on its way stops it at every step: none may, but HiDream's, whose experts have to know how many tokens each gets."""
    told = model.family.inputs([cond], model.sizes, x.shape)
    batch = {key: value.expand(len(x), *value.shape[1:]) for key, value in told.items()}
    time = model.noise.timestep(sigma)
    with Pool("cpu").lease(model.leasable()) as net, Waits((x, time, batch)) as waits:
        out = model.family.forward(net, x, time, batch | more)
    experts = sum(type(module).__name__ == "Experts" for module in net.modules())
    assert waits.asked == ["aten.bincount.default"] * experts, waits.asked
    return out


def off(got: Tensor, want: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((got - want).abs().max() / want.abs().max())


def solved(guider: Guider, noise: Tensor, sigmas: Tensor) -> Tensor:
    """The latent after Euler steps through `sigmas`, as the net sees it."""
    latent = guider.model.family.latent
    return latent.process_in(sample(guider, noise, torch.zeros_like(noise), solver("euler"), sigmas, pool=Pool("cpu")))


def apart(got: Tensor, want: Tensor) -> float:
    """The largest difference."""
    return float((got - want).abs().max())
