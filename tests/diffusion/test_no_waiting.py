"""No step waits for the device. Shown on the meta device, which has no values to wait for and, like any accelerator, does not mix with
CPU tensors other than scalars."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.inpaint import Masked, fit_noise_mask
from backend.diffusion.noise import flow_noise
from backend.diffusion.randomness import GivenNoise
from backend.diffusion.sample import Bound, Denoiser, prepare_conds
from backend.diffusion.samplers import EXTRA, SAMPLERS
from backend.diffusion.schedules import sampling_sigmas
from backend.memory.pool import Pool
from tests.diffusion.toy import text, toy_model

SHAPE = (2, 4, 16, 16)
META = torch.device("meta")


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("name", [n for n in [*SAMPLERS, *EXTRA] if n != "dpm_adaptive"])
def test_steps_never_read_the_device(name: str, flow: bool) -> None:
    """With areas, masks, ranges, two roles and inpainting. dpm_adaptive reads its error: it says so."""
    model = toy_model(flow_noise(3.0) if flow else None)
    positive: list[Any] = [
        [text(1), {}], [text(2), {"area": (8, 8, 4, 4)}], [text(3), {"mask": torch.rand(16, 16)}], [text(4), {"end_percent": 0.5}],
    ]  # fmt: skip
    guider = CfgGuider(model, positive, [[text(5), {}]], 4.0)
    sigmas = sampling_sigmas(model.noise, "simple", 5, name)
    x = torch.empty(SHAPE, device=META)
    with torch.inference_mode(), Pool(META).lease(model.loadable) as net:
        bound = Bound(guider, Denoiser(model, net, prepare_conds(model, guider.conds, SHAPE, META), sigmas).predict)
        masked = Masked(bound, model, fit_noise_mask(torch.rand(1, 64, 64), SHAPE).to(META), x, x, sigmas)
        noise = GivenNoise(lambda sigma, sigma_next: torch.empty(SHAPE, device=META))
        out = {**SAMPLERS, **EXTRA}[name](masked, model.noise.noised(x, x, float(sigmas[0])), sigmas, noise=noise, path=model.noise.path)
    assert out.shape == SHAPE and out.device == META


def test_the_one_exception_would_be_noticed() -> None:
    """This way of looking does see a wait."""
    x = torch.empty(SHAPE, device=META)
    noise = GivenNoise(lambda sigma, sigma_next: torch.empty(SHAPE, device=META))
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        SAMPLERS["dpm_adaptive"](lambda x, sigma: x * 0.5, x, torch.tensor([10.0, 1.0, 0.1]), noise=noise)
