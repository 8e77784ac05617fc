"""The autoencoder of Flux 2 against diffusers: latents and pixels, with a decoder as wide as the encoder and a smaller one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLFlux2

from backend.codecs.kl import names
from backend.families.load import load_vae
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import tiny

Twin: Any = AutoencoderKLFlux2


@pytest.mark.parametrize("decoder", [None, (128,)])
@pytest.mark.parametrize("folder", [True, False])
def test_flux2_vae(decoder: tuple[int, ...] | None, folder: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = Twin(
        block_out_channels=(128, 256) if decoder else (128,), decoder_block_out_channels=decoder and (*decoder, 128), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * (2 if decoder else 1), up_block_types=("UpDecoderBlock2D",) * (2 if decoder else 1),
        latent_channels=4,
    ).eval()  # fmt: skip
    theirs.bn.running_mean, theirs.bn.running_var = torch.randn(16), torch.rand(16) + 0.5
    path = tmp_path / "vae"
    if folder:
        theirs.save_pretrained(path)
    else:
        path = tmp_path / "vae.safetensors"
        state = theirs.state_dict()
        named = {name: part.tensor(state[part.key]).contiguous() for name, part in names.from_diffusers(state).items()}
        save_safetensors(path, named | {key: value for key, value in state.items() if key.startswith("bn.running")})
    vae, pool = load_vae(path, tiny.services(tmp_path)), Pool("cpu")
    assert vae.channels == 16 and vae.factor == (4 if decoder else 2)
    pixels = torch.rand(1, 16, 24, 3)
    with torch.no_grad():
        mean = theirs.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mean
        patched = torch.nn.functional.pixel_unshuffle(mean, 2)
        want = (patched - theirs.bn.running_mean[:, None, None]) / (theirs.bn.running_var[:, None, None] + 1e-4).sqrt()
        picture = (theirs.decode(mean).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    got = vae.encode(pixels, pool)
    assert (got - want).abs().max() < 1e-5 and (vae.decode(got, pool) - picture).abs().max() < 1e-5
