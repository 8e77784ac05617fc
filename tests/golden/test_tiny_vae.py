"""Tiny autoencoders against diffusers' AutoencoderTiny, in every spelling."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from backend.base.config import Settings
from backend.base.errors import BadFile, MissingFile
from backend.diffusion.latent import SD1
from backend.families.load import load_vae
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.loaders import vae_loader
from nodes.sampling import small_decoder
from tests.families import tiny
from tests.nodes.bench import Bench


def twin() -> AutoencoderTiny:
    torch.manual_seed(0)
    return AutoencoderTiny(encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4).eval()


def halves(net: AutoencoderTiny) -> dict[str, dict[str, Tensor]]:
    """The two published files."""
    found: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for key, value in net.state_dict().items():
        match = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.+)", key)
        assert match
        found[match[1]][f"{int(match[2]) + (match[1] == 'decoder')}.{match[3]}"] = value
    return found


def write(folder: Path, name: str, net: AutoencoderTiny) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for half, state in halves(net).items():
        save_safetensors(folder / f"{name}_{half}.safetensors", state)


@pytest.mark.parametrize(("name", "scale"), [("taesd", 0.18215), ("taesdxl", 0.13025)])
@torch.no_grad()
def test_pairs_of_files(name: str, scale: float, tmp_path: Path) -> None:
    net, bench = twin(), Bench(tmp_path)
    write(bench.folders.models / "vae_approx", name, net)
    vae, pool = vae_loader(bench.context(), vae_name=name), Pool()
    image, latent = torch.rand(1, 16, 24, 3), torch.randn(1, 4, 2, 3)
    want = net.decode(latent * scale).sample / 2 + 0.5
    assert (vae.decode(latent, pool).movedim(-1, 1) - want.clamp(0, 1)).abs().max() < 1e-5
    assert (vae.encode(image, pool) * scale - net.encode(image.movedim(-1, 1) * 2 - 1).latents).abs().max() < 1e-5
    assert vae.decode_tiled(latent, pool, 16, 8).shape == (1, 16, 24, 3)


def test_one_file(tmp_path: Path) -> None:
    net, services = twin(), tiny.services(tmp_path)
    net.save_pretrained(tmp_path / "taesdxl")
    together = {f"taesd_{half}.{key}": value for half, state in halves(net).items() for key, value in state.items()}
    save_safetensors(tmp_path / "one.safetensors", together | {"vae_scale": torch.tensor(0.5), "vae_shift": torch.tensor(0.25)})
    xl, one = load_vae(tmp_path / "taesdxl", services), load_vae(tmp_path / "one.safetensors", services)
    latent, pool = torch.randn(1, 4, 2, 2), Pool()
    assert torch.allclose(xl.decode(latent, pool), one.decode(latent * 0.13025 / 0.5 + 0.25, pool), atol=1e-5)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(MissingFile) as raised:
        vae_loader(bench.context(), vae_name="taesd")
    assert raised.value.where.input == "vae_name" and "taesd_encoder" in str(raised.value)
    folder = bench.folders.models / "vae_approx"
    write(folder, "taesd", twin())
    save_safetensors(folder / "taesd_decoder.safetensors", {"1.weight": torch.zeros(16, 4, 3, 3)})
    with pytest.raises(BadFile, match="tiny autoencoder without the weight"):
        vae_loader(bench.context(), vae_name="taesd")


def test_previews(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(Settings(), preview_method="taesd"))
    assert small_decoder(bench.context(), SD1) is None and any("taesd_encoder" in text for text in bench.texts())
    net = twin()
    write(bench.folders.models / "vae_approx", "taesd", net)
    decode = small_decoder(bench.context(), SD1)
    assert decode is not None
    x0 = torch.randn(1, 4, 2, 2)
    with torch.no_grad():
        want = (net.decode(x0).sample / 2 + 0.5).clamp(0, 1)
    assert (decode(x0) - want).abs().max() < 1e-5
