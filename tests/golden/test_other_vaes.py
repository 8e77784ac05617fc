"""The asymmetric autoencoder and the consistency decoder against diffusers, through the real loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from backend.base.errors import BadFile, BadInput
from backend.codecs.asymmetric.spec import AsymmetricHandle
from backend.codecs.consistency.spec import ConsistencyHandle
from backend.families import save
from backend.families.load import load_vae
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.vae import vae_decode, vae_decode_around
from tests.families import kinds, tiny
from tests.families.vaes import asymmetric, consistency
from tests.nodes.bench import Bench

CLOSE, EXACT = 1e-5, 1e-10


@torch.no_grad()
def test_asymmetric(tmp_path: Path) -> None:
    theirs, pool = asymmetric(), Pool("cpu")
    theirs.save_pretrained(tmp_path / "a")
    vae = load_vae(tmp_path / "a", tiny.services(tmp_path))
    theirs, exact = theirs.double(), replace(vae.loadable, dtype=torch.float64)  # a mask makes even areas, whose norms round coarsely
    assert isinstance(vae, AsymmetricHandle) and vae.factor == 8 and vae.sizes.condition == (32, 64, 128, 128, 128)
    z, pixels = torch.randn(1, 4, 4, 2), torch.rand(1, 32, 16, 3)
    mask = torch.zeros(1, 32, 16)
    mask[:, 8:20, 3:9] = 1.0
    picture, z64, hole = pixels.movedim(-1, 1).double() * 2 - 1, z.double(), mask[:, None].double()
    with pool.lease(exact) as net:
        assert (net.encode(picture) - theirs.encode(picture).latent_dist.mean).abs().max() < EXACT
        assert (net.decode(z64) - theirs.decode(z64).sample).abs().max() < EXACT
        want = theirs.decode(z64, image=picture, mask=hole).sample
        assert (net.decode(z64, torch.cat([picture, hole], dim=1)) - want).abs().max() < EXACT
    ctx: Any = Bench(tmp_path / "home").context()
    got = vae_decode_around(ctx, samples={"samples": z}, vae=vae, pixels=pixels, mask=mask)
    assert (got - (want / 2 + 0.5).clamp(0, 1).movedim(1, -1)).abs().max() < CLOSE
    assert (vae.decode_tiled(z, pool, 32, 16) - vae.decode(z, pool)).abs().max() < CLOSE
    with pytest.raises(BadInput, match="picture is 16x16, the latent decodes to 16x32"):
        vae_decode_around(ctx, samples={"samples": z}, vae=vae, pixels=pixels[:, :16], mask=mask)
    kinds.vae().save_pretrained(tmp_path / "kl")
    with pytest.raises(BadInput, match="cannot be shown"):
        vae_decode_around(ctx, samples={"samples": z}, vae=load_vae(tmp_path / "kl", tiny.services(tmp_path)), pixels=pixels, mask=mask)


@torch.no_grad()
def test_consistency_decoder(tmp_path: Path) -> None:
    theirs, pool = consistency(), Pool("cpu")
    theirs.save_pretrained(tmp_path / "c")
    vae = load_vae(tmp_path / "c", tiny.services(tmp_path))
    assert isinstance(vae, ConsistencyHandle) and vae.factor == 2 and vae.sizes.widths == (32, 64)
    z, picture = torch.randn(1, 4, 5, 4), torch.rand(1, 3, 8, 6) * 2 - 1
    with pool.lease(vae.loadable) as net:
        assert (net.encode(picture) - theirs.encode(picture).latent_dist.mean).abs().max() < CLOSE
        want = theirs.decode(z, generator=torch.Generator().manual_seed(0)).sample
        assert (net.decode(z, vae.beside(z)) - want).abs().max() < CLOSE
    got = vae_decode(Bench(tmp_path / "home").context(), samples={"samples": z}, vae=vae)
    assert (got - (want / 2 + 0.5).clamp(0, 1).movedim(1, -1)).abs().max() < CLOSE
    assert torch.equal(vae.decode_tiled(z, pool, 32, 8), got)


@pytest.mark.parametrize("make", [asymmetric, consistency])
def test_saved_and_loaded_again(make: Any, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "m")
    services = tiny.services(tmp_path)
    vae = load_vae(tmp_path / "m", services)
    save.save(tmp_path / "again.safetensors", {}, vae=vae, bare=True)
    again = load_vae(tmp_path / "again.safetensors", services)
    assert again.sizes == vae.sizes and type(again) is type(vae)
    state = {key: value for key, value in make().state_dict().items() if not key.endswith("conv_out.bias")}
    save_safetensors(tmp_path / "short.safetensors", state)
    with pytest.raises(BadFile, match="without the weight"):
        load_vae(tmp_path / "short.safetensors", services)


def test_others_are_not_taken_for_these(tmp_path: Path) -> None:
    theirs: AutoencoderKL = kinds.vae()
    theirs.save_pretrained(tmp_path / "kl")
    assert not isinstance(load_vae(tmp_path / "kl", tiny.services(tmp_path)), AsymmetricHandle | ConsistencyHandle)
