"""Whole latents of Wan against diffusers' pipelines, through the nodes, on tiny nets and autoencoders with the same noise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline, WanVACEPipeline, WanVACETransformer3DModel
from PIL import Image
from torch import Tensor

from backend.codecs.wan.names import from_diffusers, levels_from_diffusers
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.latent import WAN22
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families.load import load_vae
from backend.weights.save import save_safetensors
from nodes.wan import wan22_image_to_video_latent, wan_first_last_frame_to_video, wan_image_to_video, wan_vace_to_video
from tests.families import tiny
from tests.golden.wans import POOL, SMALL, TEXT, apart, lively, of, plain, prompt

CFG, STEPS, CLOSE = 3.0, 3, 1e-4
CTX: Any = SimpleNamespace(node="9", services=SimpleNamespace(pool=POOL), check=None)
SIZE: dict[str, Any] = {"width": 32, "height": 32, "length": 5, "batch_size": 1}
ASKED: dict[str, Any] = {
    "width": 32, "height": 32, "num_frames": 5, "num_inference_steps": STEPS, "guidance_scale": CFG, "output_type": "latent",
}  # fmt: skip


def scheduler() -> Any:
    made = diffusers.FlowMatchEulerDiscreteScheduler(shift=8.0)
    made.set_timesteps(STEPS)
    return made


def texts() -> tuple[Any, Any, dict[str, Tensor]]:
    a, b = torch.randn(1, 9, TEXT), torch.randn(1, 7, TEXT)
    return [[a, {}]], [[b, {}]], {"prompt_embeds": prompt(a), "negative_prompt_embeds": prompt(b)}


def vae(path: Path) -> tuple[AutoencoderKLWan, Any]:
    torch.manual_seed(5)
    net = AutoencoderKLWan(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    state = net.state_dict()
    save_safetensors(path / "vae.safetensors", {name: state[key] for name, key in from_diffusers(state).items()})
    return net, load_vae(path / "vae.safetensors", tiny.services(path))


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def ours(model: Any, positive: Any, negative: Any, noise: Tensor, sigmas: Tensor, latent: Tensor | None = None, mask: Any = None) -> Tensor:
    clean = torch.zeros_like(noise) if latent is None else latent
    made = sample(CfgGuider(model, positive, negative, CFG), noise, clean, solver("euler"), sigmas, mask, pool=POOL)
    out: Tensor = model.family.latent.process_in(made)
    return out


@torch.no_grad()
def test_text_with_two_experts(tmp_path: Path) -> None:
    """Wan 2.2: one net for the noisy part, and another that goes on; as two samplings in a row, the second without noise."""
    theirs, second = plain(), lively(plain().float())
    positive, negative, embeds = texts()
    noise, steps = torch.randn(1, 16, 2, 4, 4), scheduler()
    parts = (None, None, None, steps, theirs, second)
    pipeline = quiet(WanPipeline(*parts[:2], vae(tmp_path)[0], *parts[3:], boundary_ratio=0.9))
    expected = pipeline(**ASKED, **embeds, latents=noise.clone(), guidance_scale_2=CFG).frames
    sigmas = scheduler().sigmas
    at = int((sigmas[:-1] >= 0.9).sum())
    assert 0 < at < STEPS
    noisy, clear = (of(net, tmp_path) for net in (theirs, second))
    half = sample(CfgGuider(noisy, positive, negative, CFG), noise, torch.zeros_like(noise), solver("euler"), sigmas[: at + 1], pool=POOL)
    got = ours(clear, positive, negative, torch.zeros_like(noise), sigmas[at:], half)
    assert apart(got, expected) < CLOSE


@torch.no_grad()
def test_first_and_last_pictures(tmp_path: Path) -> None:
    theirs = plain(in_channels=36)
    model = of(theirs, tmp_path)
    autoencoder, mine = vae(tmp_path)
    pipeline = quiet(WanImageToVideoPipeline(None, None, autoencoder, scheduler(), transformer=theirs))
    positive, negative, embeds = texts()
    first, last, noise = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3), torch.randn(1, 16, 2, 4, 4)
    pictures = [x.movedim(-1, 1) for x in (first, last)]
    expected = pipeline(pictures[0], **ASKED, **embeds, latents=noise.clone()).frames
    begun = wan_image_to_video(CTX, positive=positive, negative=negative, vae=mine, **SIZE, start_image=first)
    sigmas = scheduler().sigmas
    assert apart(ours(model, begun.positive, begun.negative, noise, sigmas), expected) < CLOSE
    both = pipeline(pictures[0], last_image=pictures[1], **ASKED, **embeds, latents=noise.clone()).frames
    between = wan_first_last_frame_to_video(CTX, positive=positive, negative=negative, vae=mine, **SIZE, start_image=first, end_image=last)
    assert apart(ours(model, between.positive, between.negative, noise, sigmas), both) < CLOSE


@torch.no_grad()
def test_the_small_net_of_2_2(tmp_path: Path) -> None:
    theirs = plain(in_channels=48, out_channels=48)
    model = of(theirs, tmp_path)
    torch.manual_seed(6)
    autoencoder = AutoencoderKLWan(
        base_dim=8, decoder_base_dim=8, z_dim=48, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True, patch_size=2, in_channels=12,
        out_channels=12, scale_factor_spatial=16, latents_mean=list(WAN22.means), latents_std=list(WAN22.deviations),
    ).eval()  # fmt: skip
    state = autoencoder.state_dict()
    save_safetensors(tmp_path / "v.safetensors", {name: state[key] for name, key in levels_from_diffusers(state).items()})
    mine = load_vae(tmp_path / "v.safetensors", tiny.services(tmp_path))
    positive, negative, embeds = texts()
    pipeline = quiet(
        WanImageToVideoPipeline(None, None, autoencoder, scheduler(), transformer=theirs, transformer_2=None, expand_timesteps=True)
    )
    first, noise = torch.rand(1, 64, 64, 3), torch.randn(1, 48, 2, 4, 4)
    big = {"width": 64, "height": 64}
    expected = pipeline(first.movedim(-1, 1), **{**ASKED, **big}, **embeds, latents=noise.clone()).frames
    begun = wan22_image_to_video_latent(CTX, vae=mine, **{**SIZE, **big}, start_image=first)
    got = ours(model, positive, negative, noise, scheduler().sigmas, begun["samples"], begun["noise_mask"])
    assert apart(got, expected) < CLOSE


@torch.no_grad()
def test_vace(tmp_path: Path) -> None:
    torch.manual_seed(42)
    theirs = lively(WanVACETransformer3DModel(**SMALL, vace_layers=[0]))
    model = of(theirs, tmp_path)
    autoencoder, mine = vae(tmp_path)
    pipeline = quiet(WanVACEPipeline(None, None, autoencoder, scheduler(), transformer=theirs))
    positive, negative, embeds = texts()
    film, person = (torch.rand(n, 32, 32, 3).mul(255).round().to(torch.uint8).numpy() for n in (5, 1))
    mask = np.zeros((5, 32, 32), np.uint8)
    mask[2:, 8:, :20] = 255
    noise = torch.randn(1, 16, 3, 4, 4)
    expected = pipeline(
        **ASKED, **embeds, latents=noise.clone(), video=[Image.fromarray(x) for x in film], mask=[Image.fromarray(x) for x in mask],
        reference_images=[Image.fromarray(person[0])],
    ).frames  # fmt: skip
    begun = wan_vace_to_video(
        CTX, positive=positive, negative=negative, vae=mine, **SIZE, strength=1.0, control_video=torch.from_numpy(film) / 255,
        control_masks=torch.from_numpy(mask) / 255, reference_image=torch.from_numpy(person) / 255,
    )  # fmt: skip
    assert begun.trim_latent == 1 and begun.latent["samples"].shape == noise.shape
    got = ours(model, begun.positive, begun.negative, noise, scheduler().sigmas)
    assert apart(got, expected) < CLOSE
