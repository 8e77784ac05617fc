"""Tiny random twins of the model files that ready-made graphs ask for, by file name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from backend.codecs import upscaler
from backend.weights.save import save_safetensors
from tests.families import kinds, vaes
from tests.families.priors import EMBED, twin
from tests.golden import test_depth_anything, test_safety, test_tiny_vae, test_vitpose
from tests.tools import (
    adapter_twins,
    cosmos_twins,
    flux_twins,
    geometry_twins,
    language_twins,
    qwen_twins,
    seedvr2_twins,
    stream_twins,
    subject_twins,
    t5_twins,
    wan_twins,
)

COSXL = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}
MARKS = {
    "cosxl.safetensors": COSXL,
    "cosxl_edit.safetensors": COSXL,
    "playground-v2.5-1024px-aesthetic.fp16.safetensors": {"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)},
}
CHECKPOINTS: dict[str, tuple[str, int]] = {
    "bk-sdm-small.safetensors": ("bk-sdm", 4), "SSD-1B.safetensors": ("ssd-1b", 4),
    "v1-5-pruned-emaonly.safetensors": ("sd1", 4), "sd-v1-5-inpainting.ckpt": ("sd1", 9),
    "instruct-pix2pix-00-22000.safetensors": ("sd1", 8), "LCM_Dreamshaper_v7_4k.safetensors": ("lcm", 4),
    "v2-1_768-ema-pruned.safetensors": ("sd2", 4), "512-inpainting-ema.safetensors": ("sd2", 9), "512-depth-ema.ckpt": ("sd2", 5),
    "sd21-unclip-h.ckpt": ("unclip", 4), "sd21-unclip-l.ckpt": ("unclip", 4), "x4-upscaler-ema.safetensors": ("x4", 7),
    "sd_xl_base_1.0.safetensors": ("sdxl", 4),
    "sd_xl_refiner_1.0.safetensors": ("refiner", 4), "sd_xl_inpainting_0.1.safetensors": ("sdxl", 9),
    "sd_xl_turbo_1.0_fp16.safetensors": ("sdxl", 4), "cosxl_edit.safetensors": ("sdxl", 8), "cosxl.safetensors": ("sdxl", 4),
    "playground-v2.5-1024px-aesthetic.fp16.safetensors": ("sdxl", 4),
    "marigold-depth.safetensors": ("sd2", 8),
    "marigold-normals.safetensors": ("sd2", 8),
}  # fmt: skip


def part(kind: str, prefix: str) -> Callable[[Path], None]:
    """One part of a checkpoint, in a file of its own."""

    def make(path: Path) -> None:
        state = kinds.make(kind).state()
        save_safetensors(path, {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})

    return make


def rgbd(channels: int, unet: int) -> Callable[[Path], None]:
    """A model of pictures with depth."""

    def make(path: Path) -> None:
        twin = kinds.make("sd1", unet)
        vae = kinds.vae(in_channels=channels, out_channels=channels)
        kinds.Kind(twin.unet, vae, twin.texts, twin.prefixes).single(path)

    return make


def vision(path: Path) -> None:
    state = kinds.vision(64).state_dict()
    save_safetensors(path, {key: value for key, value in state.items() if not key.endswith("position_ids")})


def x2(folder: Path) -> None:
    kinds.make("x2").folder(folder)


def enlarger(path: Path) -> None:
    upscaler.library()
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    save_safetensors(path, SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).state_dict())


def checker(path: Path) -> None:
    save_safetensors(path, test_safety.published(test_safety.twin()))


def measurer(path: Path) -> None:
    save_safetensors(path, test_depth_anything.published(test_depth_anything.made()))


def saved(net: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        save_safetensors(path, net().state_dict())

    return make


MAKERS: dict[str, Callable[[Path], None]] = {
    "ldm3d.safetensors": rgbd(6, 4),
    "ldm3d-pano.safetensors": rgbd(6, 4),
    "ldm3d-sr.safetensors": rgbd(4, 8),
    "clip_vision_vit_l.safetensors": vision,
    "vae-ft-mse-840000-ema-pruned.safetensors": part("sd1", "first_stage_model."),
    "karlo_prior.safetensors": saved(twin),
    "clip_l_projected.safetensors": saved(lambda: kinds.text(64, projection=EMBED)),
    "sd-x2-latent-upscaler": x2,
    "asymmetric-autoencoder-kl-x-1-5.safetensors": saved(vaes.asymmetric),
    "consistency-decoder.safetensors": saved(vaes.consistency),
    "sd-image-variations.safetensors": part("sd1", "model.diffusion_model."),
    "sdxl_unet.safetensors": part("sdxl", "model.diffusion_model."),
    "clip_l.safetensors": part("sdxl", "conditioner.embedders.0.transformer."),
    "clip_g.safetensors": part("sdxl", "conditioner.embedders.1.model."),
    "sdxl_vae.safetensors": part("sdxl", "first_stage_model."),
    "taesd.safetensors": saved(test_tiny_vae.twin),
    "RealESRGAN_x4plus.pth": enlarger,
    "safety_checker.safetensors": checker,
    "vitpose-plus-base.safetensors": saved(lambda: test_vitpose.made(simple=True, experts=6)),
    "depth_anything_v2_vits.safetensors": measurer,
    "sdxl_lightning_4step_unet.safetensors": part("sdxl", "model.diffusion_model."),
    "blipdiffusion": subject_twins.blip,
    **adapter_twins.MAKERS,
    **cosmos_twins.MAKERS,
    **flux_twins.MAKERS,
    **geometry_twins.MAKERS,
    **language_twins.MAKERS,
    **qwen_twins.MAKERS,
    **seedvr2_twins.MAKERS,
    **stream_twins.MAKERS,
    **t5_twins.MAKERS,
    **wan_twins.MAKERS,
}
"""Files that are no whole checkpoint of a kind."""


def place(models: Path, name: str, folder: str) -> None:
    """The twin of a file below `models`. Safetensors are known by content, whatever the name ends in."""
    path = models / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name in MAKERS:
        MAKERS[name](path)
    else:
        kinds.make(*CHECKPOINTS[name]).single(path, MARKS.get(name))
