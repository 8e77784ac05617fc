"""The KL autoencoder against diffusers' AutoencoderKL, through the real loader."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from backend.codecs.kl.net import AutoencoderKL as Ours
from backend.codecs.kl.spec import from_file
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from tests.families import tiny


def sd_like() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(128, 128, 256, 256),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
    ).eval()


@pytest.fixture(params=["small", "sd"])
def theirs(request: pytest.FixtureRequest) -> AutoencoderKL:
    return tiny.make().vae if request.param == "small" else sd_like()


@torch.no_grad()
def test_encode_and_decode(tmp_path: Path, theirs: AutoencoderKL) -> None:
    theirs.save_pretrained(tmp_path)
    vae = from_file(open_weights(tmp_path))
    assert vae is not None
    f = vae.factor
    with Pool().lease(vae.loadable) as net:
        assert isinstance(net, Ours)
        x = torch.randn(2, 3, 8 * f, 4 * f).clamp(-1, 1)
        posterior = theirs.encode(x).latent_dist
        assert (net.encode_moments(x) - posterior.parameters).abs().max() < 1e-5
        noise = torch.randn(posterior.mean.shape)
        assert (net.encode(x, noise) - (posterior.mean + posterior.std * noise)).abs().max() < 1e-5
        z = torch.randn(2, 4, 8, 4)
        expected = theirs.decode(z).sample
        assert (net.decode(z) - expected).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))


@torch.no_grad()
def test_the_same_function_in_float64(theirs: AutoencoderKL, tmp_path: Path) -> None:
    """In float64 rounding vanishes and only a difference in meaning would be left."""
    theirs.save_pretrained(tmp_path)
    vae = from_file(open_weights(tmp_path), torch.float64)
    assert vae is not None
    exact = copy.deepcopy(theirs).double()
    z, x = torch.randn(1, 4, 4, 6).double(), torch.randn(1, 3, 4 * vae.factor, 2 * vae.factor).double()
    with Pool().lease(vae.loadable) as net:
        assert isinstance(net, Ours)
        assert (net.decode(z) - exact.decode(z).sample).abs().max() < 1e-10
        assert (net.encode(x) - exact.encode(x).latent_dist.mean).abs().max() < 1e-10


@torch.no_grad()
def test_handle_speaks_images(tmp_path: Path) -> None:
    theirs = tiny.make().vae
    theirs.save_pretrained(tmp_path)
    vae, pool = from_file(open_weights(tmp_path)), Pool()
    assert vae is not None
    image = torch.rand(1, 17, 13, 4)
    cropped = image[:, 0:16, 0:12, :3].permute(0, 3, 1, 2) * 2 - 1
    expected = theirs.encode(cropped).latent_dist.mean
    latent = vae.encode(image, pool)
    assert latent.shape == (1, 4, 8, 6)
    assert (latent - expected).abs().max() < 1e-5
    decoded = vae.decode(latent, pool)
    assert decoded.shape == (1, 16, 12, 3)
    assert (decoded - (theirs.decode(latent).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)).abs().max() < 1e-5
