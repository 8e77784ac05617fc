"""The causal autoencoder against diffusers' AutoencoderKLQwenImage and AutoencoderKLWan, through the real loader."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

from backend.base.errors import BadFile, BadInput, Interrupted
from backend.codecs.wan.names import from_diffusers, levels_from_diffusers
from backend.codecs.wan.net import WanAutoencoder, WanSizes
from backend.codecs.wan.spec import WanHandle
from backend.families.load import load_vae
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import tiny

SIZES = {"dim_mult": [1, 2, 2, 2], "num_res_blocks": 1, "z_dim": 4, "temperal_downsample": [False, True, True]}


def qwen(channels: int = 3) -> AutoencoderKLQwenImage:
    torch.manual_seed(5)
    return AutoencoderKLQwenImage(base_dim=8, input_channels=channels, **SIZES).eval()


def single(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = net.state_dict()
    return {name: state[key] for name, key in from_diffusers(state).items()}


def loaded(net: torch.nn.Module, path: Path, prefix: str = "") -> WanHandle:
    save_safetensors(path / "vae.safetensors", {prefix + key: value for key, value in single(net).items()})
    vae = load_vae(path / "vae.safetensors", tiny.services(path))
    assert isinstance(vae, WanHandle)
    return vae


@torch.no_grad()
def test_pictures(tmp_path: Path) -> None:
    theirs = qwen()
    vae = loaded(theirs, tmp_path)
    assert vae.sizes == WanSizes(8, (1, 2, 2, 2), 1, 4, 3, (False, True, True)) and vae.factor == 8
    with Pool().lease(vae.loadable) as net:
        assert isinstance(net, WanAutoencoder)
        x = torch.randn(2, 3, 32, 16).clamp(-1, 1)
        posterior = theirs.encode(x.unsqueeze(2)).latent_dist
        assert (net.encode(x) - posterior.mean[:, :, 0]).abs().max() < 1e-5
        noise = torch.randn_like(posterior.mean[:, :, 0])
        assert (net.encode(x, noise) - (posterior.mean + posterior.std * noise.unsqueeze(2))[:, :, 0]).abs().max() < 1e-5
        z = torch.randn(2, 4, 4, 2)
        assert (net.decode(z).clamp(-1, 1) - theirs.decode(z.unsqueeze(2)).sample[:, :, 0]).abs().max() < 1e-5


@torch.no_grad()
def test_films(tmp_path: Path) -> None:
    torch.manual_seed(6)
    theirs = AutoencoderKLWan(base_dim=8, **SIZES).eval()
    vae, pool = loaded(theirs, tmp_path, prefix="first_stage_model."), Pool()
    frames = torch.rand(11, 16, 24, 3)
    x = (frames[:9] * 2 - 1).permute(3, 0, 1, 2).unsqueeze(0)
    latent = vae.encode(frames, pool)
    assert latent.shape == (1, 4, 3, 2, 3)
    assert (latent - theirs.encode(x).latent_dist.mean).abs().max() < 1e-5
    made = vae.decode(latent, pool)
    expected = theirs.decode(latent).sample.permute(0, 2, 3, 4, 1) / 2 + 0.5
    assert made.shape == (1, 9, 16, 24, 3)
    assert (made - expected).abs().max() < 1e-5


@torch.no_grad()
def test_wan_2_2(tmp_path: Path) -> None:
    torch.manual_seed(7)
    theirs = AutoencoderKLWan(
        base_dim=8, decoder_base_dim=12, **{**SIZES, "dim_mult": [1, 2, 4, 4]}, is_residual=True, patch_size=2, in_channels=12,
        out_channels=12, scale_factor_spatial=16,
    ).eval()  # fmt: skip
    state = theirs.state_dict()
    save_safetensors(tmp_path / "vae.safetensors", {name: state[key] for name, key in levels_from_diffusers(state).items()})
    vae, pool = load_vae(tmp_path / "vae.safetensors", tiny.services(tmp_path)), Pool()
    assert isinstance(vae, WanHandle) and vae.factor == 16 and vae.channels == 4
    assert vae.sizes == WanSizes(8, (1, 2, 4, 4), 1, 4, 3, (False, True, True), 2, 12)
    frames = torch.rand(9, 32, 48, 3)
    x = (frames * 2 - 1).permute(3, 0, 1, 2).unsqueeze(0)
    for count in (1, 9):
        latent = vae.encode(frames[:count], pool)
        assert latent.shape == (1, 4, (count - 1) // 4 + 1, 2, 3)
        assert (latent - theirs.encode(x[:, :, :count]).latent_dist.mean).abs().max() < 1e-5
        made = vae.decode(latent, pool)
        expected = theirs.decode(latent).sample.permute(0, 2, 3, 4, 1) / 2 + 0.5
        assert (made.reshape(expected.shape) - expected).abs().max() < 1e-5
    theirs.save_pretrained(tmp_path / "folder")
    folder = load_vae(tmp_path / "folder", tiny.services(tmp_path))
    assert torch.equal(folder.encode(frames, pool), latent)
    large = torch.rand(5, 64, 64, 3)
    parts = vae.encode_tiled(large, pool, 48, 16)
    assert parts.shape == vae.encode(large, pool).shape == (1, 4, 2, 4, 4)
    whole = vae.decode(parts, pool)
    assert (vae.decode_tiled(parts, pool, 48, 16) - whole).abs().mean() < 0.1 and whole.shape == (1, 5, 64, 64, 3)


def test_a_folder_of_diffusers_and_transparency(tmp_path: Path) -> None:
    theirs = qwen(channels=4)
    theirs.save_pretrained(tmp_path)
    vae, pool = load_vae(tmp_path, tiny.services(tmp_path)), Pool()
    assert vae.sizes.in_channels == 4
    latent = vae.encode(torch.rand(1, 16, 16, 4), pool)
    assert latent.shape == (1, 4, 1, 2, 2) and vae.decode(latent, pool).shape == (1, 16, 16, 4)
    colours = torch.rand(1, 16, 16, 3)
    opaque = torch.cat([colours, torch.ones(1, 16, 16, 1)], dim=-1)
    assert torch.equal(vae.encode(colours, pool), vae.encode(opaque, pool))


def test_in_tiles(tmp_path: Path) -> None:
    vae, pool = loaded(qwen(), tmp_path), Pool()
    assert isinstance(vae, WanHandle)
    frames = torch.rand(5, 128, 128, 3)
    for pixels in (frames[:1], frames):
        latent = vae.encode_tiled(pixels, pool, 64, 32)
        assert latent.shape == vae.encode(pixels, pool).shape
        made, whole = vae.decode_tiled(latent, pool, 64, 32), vae.decode(latent, pool)
        assert made.shape == whole.shape and (made - whole).abs().mean() < 0.1
    assert vae.encode_each(frames, pool).shape == (5, 4, 1, 16, 16)


def test_films_can_be_cancelled_between_their_pieces(tmp_path: Path) -> None:
    """And where memory is short between their tiles."""
    vae = loaded(qwen(), tmp_path)
    frames, latent = torch.rand(13, 32, 32, 3), torch.randn(1, 4, 4, 4, 4)
    for pool, asked in ((Pool(), 4), (Pool("cpu", 0), 1)):
        for run in (partial(vae.encode, frames, pool), partial(vae.decode, latent, pool)):
            calls: list[int] = []
            run(check=lambda calls=calls: calls.append(1))
            assert len(calls) == asked

            def cancelled() -> None:
                raise Interrupted

            with pytest.raises(Interrupted):
                run(check=cancelled)
            run()  # nothing is left that asks


def test_original_names_are_those_of_the_published_files() -> None:
    with torch.device("meta"):
        ours, theirs = WanAutoencoder(WanSizes()), AutoencoderKLWan()
    assert set(convert_wan_vae_to_diffusers(dict(ours.state_dict()))) == set(theirs.state_dict())


def test_damaged_files_are_told(tmp_path: Path) -> None:
    state = single(qwen())
    path, services = tmp_path / "less.safetensors", tiny.services(tmp_path)
    save_safetensors(path, {key: value for key, value in state.items() if key != "decoder.middle.1.proj.bias"})
    with pytest.raises(BadFile, match=r"without the weight decoder\.middle\.1\.proj\.bias"):
        load_vae(path, services)
    vae = loaded(qwen(), tmp_path)
    with pytest.raises(BadInput, match="4 channels"):
        vae.decode(torch.zeros(1, 16, 1, 2, 2), Pool())
