"""Zero123: whole sampled latents against the reference net and scheduler; cameras, and prompts that do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.families.load import Loaded, load_checkpoint
from backend.weights.save import save_safetensors
from nodes.zero123 import camera, stable_zero123_conditioning, stable_zero123_conditioning_batched
from tests.families import kinds, tiny
from tests.families.published import openclip_vision
from tests.golden.whole import CFG, CLOSE, STEPS, euler, noise_like, ours, started
from tests.nodes.bench import Bench


def written(path: Path) -> torch.nn.Linear:
    """A checkpoint under the published names; the layer beside its net comes back."""
    torch.manual_seed(0)
    project = torch.nn.Linear(64 + 4, 64)
    state = {key: value for key, value in kinds.make("sd1", 8).state().items() if not key.startswith("cond_stage_model")}
    vision = kinds.vision(64, act="gelu")
    state |= {f"cond_stage_model.model.visual.{key}": value for key, value in openclip_vision(vision.state_dict()).items()}
    state |= {f"cc_projection.{key}": value.detach() for key, value in project.state_dict().items()}
    save_safetensors(path, {key: value.contiguous() for key, value in state.items()})
    return project


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loaded, torch.nn.Linear]:
    path = tmp_path_factory.mktemp("zero123") / "stable_zero123.ckpt"
    project = written(path)
    return load_checkpoint(path, tiny.services(path.parent)), project


def test_a_checkpoint_is_known(parts: tuple[Loaded, torch.nn.Linear]) -> None:
    found, _ = parts
    assert found.model is not None and found.model.family.name == "Zero123"
    assert found.vision is not None and found.vae is not None and found.clip is None and not found.unmatched


def test_whole_latents_equal_the_reference(parts: tuple[Loaded, torch.nn.Linear], tmp_path: Path) -> None:
    found, project = parts
    bench = Bench(tmp_path)
    turned = stable_zero123_conditioning(
        bench.context(), clip_vision=found.vision, init_image=torch.rand(1, 20, 24, 3), vae=found.vae, width=16, height=16, batch_size=1,
        elevation=20.0, azimuth=75.0,
    )  # fmt: skip
    [[read, told]], [[nothing, told_nothing]] = turned.positive, turned.negative
    assert read.shape == (1, 1, 68) and torch.equal(read[0, 0, 64:], camera(20, 75)[0, 0]) and not bool(nothing.any())
    noise, net, scheduler = noise_like(), kinds.make("sd1", 8).unet, euler()
    want = started(noise, scheduler) * scheduler.init_noise_sigma
    with torch.no_grad():
        words = project(read)
        for t in scheduler.timesteps:
            x = scheduler.scale_model_input(want, t)

            def said(text: Tensor, shown: Tensor, x: Tensor = x, t: Tensor = t) -> Tensor:
                return net(torch.cat([x, shown], dim=1), t, text).sample  # type: ignore[no-any-return]

            positive, negative = said(words, told["concat_latent_image"]), said(nothing, told_nothing["concat_latent_image"])
            want = scheduler.step(negative + CFG * (positive - negative), t, want).prev_sample
    assert len(scheduler.timesteps) == STEPS
    assert (ours(found.model, turned.positive, turned.negative, noise) - want).abs().max() < CLOSE


def test_each_of_a_batch_goes_farther(parts: tuple[Loaded, torch.nn.Linear], tmp_path: Path) -> None:
    found, _ = parts
    turned = stable_zero123_conditioning_batched(
        Bench(tmp_path).context(), clip_vision=found.vision, init_image=torch.rand(1, 16, 16, 3), vae=found.vae, width=16, height=16,
        batch_size=3, elevation=0.0, azimuth=10.0, elevation_batch_increment=0.0, azimuth_batch_increment=90.0,
    )  # fmt: skip
    moves = turned.positive[0][0][:, 0, 64:]
    assert torch.equal(moves, torch.cat([camera(0, 10 + 90 * i)[0] for i in range(3)])) and turned.latent["batch_index"] == [0, 0, 0]
    assert torch.allclose(moves[:, 3], torch.full((3,), math.pi / 2))
    several = noise_like().repeat(3, 1, 1, 1)
    assert ours(found.model, turned.positive, turned.negative, several).shape == several.shape


def test_a_prompt_is_refused(parts: tuple[Loaded, torch.nn.Linear]) -> None:
    found, _ = parts
    assert found.model is not None
    with pytest.raises(BadInput, match="where the camera went"):
        found.model.family.inputs([{"cross_attn": torch.zeros(1, 77, 64)}], found.model.sizes, (1, 4, 8, 8))
