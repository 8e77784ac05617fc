"""ControlNets for Z-Image against diffusers: all three versions, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import ZImageControlNetModel

from backend.adapters.patches import Picture, load_patch, steered
from backend.base.errors import BadFile, BadInput
from backend.diffusion.companions import together
from backend.diffusion.latent import FLUX
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import nets, tiny
from tests.golden.test_z_image import twin

SECOND = {"control_layers_places": [0, 1], "control_refiner_layers_places": [0], "control_in_dim": 33}
VERSIONS: dict[str, dict[str, Any]] = {
    "1": {"control_layers_places": [0], "control_in_dim": 16, "add_control_noise_refiner": None},
    "2.0": {**SECOND, "add_control_noise_refiner": "control_layers"},
    "2.1": {**SECOND, "add_control_noise_refiner": "control_noise_refiner"},
}  # fmt: skip
SHOWN = torch.linspace(-2, 2, 16 * 60).reshape(1, 16, 6, 10)
VAE = SimpleNamespace(channels=16, encode=lambda pixels, pool: FLUX.process_out(SHOWN + pixels.mean() - 0.5))


def made(version: str, tmp_path: Path) -> tuple[Any, Any, Any]:
    reference = twin(0.1)
    control = ZImageControlNetModel(**VERSIONS[version], dim=32, n_refiner_layers=1, n_heads=2, n_kv_heads=2)
    control = nets.randomised(control, 3, 0.1)
    save_safetensors(tmp_path / "control.safetensors", {key: value.contiguous() for key, value in control.state_dict().items()})
    patch = load_patch(tmp_path / "control.safetensors", tiny.services(tmp_path))
    return reference, ZImageControlNetModel.from_transformer(control, reference), patch


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("hole", [False, True])
@torch.no_grad()
def test_one_call(version: str, hole: bool, tmp_path: Path) -> None:
    reference, control, patch = made(version, tmp_path)
    model = nets.load(dict(reference.state_dict()), tmp_path)
    x, sigma, text = torch.randn(2, 16, 6, 10), torch.tensor([0.7, 0.3]), torch.randn(1, 9, 24)
    image, mask = torch.full((1, 48, 80, 3), 0.5), torch.zeros(1, 48, 80)
    mask[:, :16, :40] = 1
    shown = SHOWN
    if VERSIONS[version]["control_in_dim"] == 33:
        keep = torch.ones(1, 1, 6, 10)
        keep[..., :2, :5] = 0
        shown = torch.cat([SHOWN, keep, SHOWN] if hole else [SHOWN, torch.zeros(1, 17, 6, 10)], dim=1)
    latents, told = list(x.unsqueeze(2)), [text[0]] * 2
    hints = control(latents, 1 - sigma, told, list(shown.expand(2, -1, -1, -1).unsqueeze(2)), conditioning_scale=0.7)
    want = -torch.stack(reference(latents, 1 - sigma, told, controlnet_block_samples=hints, return_dict=False)[0])[:, :, 0]
    steering = steered(patch, model, Picture(VAE, image, 0.7, mask if hole else None))
    with together(steering, {}, Pool("cpu")) as companions:
        got = nets.call(steering, x, sigma, {"cross_attn": text}, taps=companions.taps)
    assert nets.off(got, want) < nets.NEAR
    assert nets.off(got, nets.call(model, x, sigma, {"cross_attn": text})) > 1e-3


def test_each_prompt_sees_the_pictures_from_the_first(tmp_path: Path) -> None:
    reference, _, patch = made("1", tmp_path)
    model = nets.load(dict(reference.state_dict()), tmp_path)
    vae = SimpleNamespace(channels=16, encode=lambda pixels, pool: FLUX.process_out(SHOWN * pixels.mean((1, 2, 3)).reshape(-1, 1, 1, 1)))
    x, sigma, cond = torch.randn(3, 16, 6, 10), torch.tensor([0.7]), {"cross_attn": torch.randn(1, 9, 24)}
    pictures = torch.stack([torch.zeros(48, 80, 3), torch.ones(48, 80, 3)])
    steering = steered(patch, model, Picture(vae, pictures, 0.7))
    with together(steering, {}, Pool("cpu")) as companions:
        run: Any = partial(nets.call, steering, cond=cond, taps=companions.taps)
        one = run(x, sigma.expand(3), facts={"cond_or_uncond": [0]})
        two = run(torch.cat([x, x]), sigma.expand(6), facts={"cond_or_uncond": [0, 1]})
    assert nets.apart(two, torch.cat([one, one])) < 1e-5


def test_what_is_refused(tmp_path: Path) -> None:
    reference, control, patch = made("1", tmp_path)
    model = nets.load(dict(reference.state_dict()), tmp_path)
    with pytest.raises(BadInput, match="is for Z-Image, the model is Z-Image"):
        steered(patch, replace(model, sizes=None), Picture(VAE, torch.zeros(1, 8, 8, 3), 1.0))
    with pytest.raises(BadInput, match="needs a control picture"):
        steered(patch, model, Picture(VAE, None, 1.0))
    state = {key: value.contiguous() for key, value in control.state_dict().items() if "after_proj" not in key}
    save_safetensors(tmp_path / "broken.safetensors", state)
    with pytest.raises(BadFile, match=r"the weight control_layers\.0\.after_proj\.weight is missing"):
        load_patch(tmp_path / "broken.safetensors", tiny.services(tmp_path))
