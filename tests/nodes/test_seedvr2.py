"""SeedVR2's nodes: pictures made ready and put right, the fixed texts, one step written out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.diffusion.latent import SEEDVR2
from backend.families.load import load_diffusion_model, load_vae
from backend.families.seedvr2.texts import shipped
from backend.weights.save import save_safetensors
from nodes.sampling import ksampler
from nodes.seedvr2 import seedvr2_conditioning, seedvr2_post_processing, seedvr2_preprocess
from tests.families import tiny
from tests.nodes.bench import Bench
from tests.tools.seedvr2_twins import MAKERS, SMALL, VAE

STEP: dict[str, Any] = {"seed": 5, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


def model(path: Path, name: str = "seedvr2_3b_int8_convrot.safetensors") -> Any:
    MAKERS[name](path / name)
    return load_diffusion_model(path / name, tiny.services(path))


def test_ready_and_back() -> None:
    """Sides to multiples of 16, frames to 1 + 4 n, and what was added is gone afterwards."""
    ctx, film = Bench(Path()).context(), torch.rand(6, 20, 33, 4)
    (ready,) = (seedvr2_preprocess(ctx, resized_images=film),)
    assert ready.shape == (9, 32, 48, 3) and torch.equal(ready[:6, :20, :33], film[..., :3])
    assert torch.equal(ready[8], ready[5]) and torch.equal(ready[0, 31, :33], film[0, 19, :, :3])
    assert torch.equal(seedvr2_preprocess(ctx, resized_images=film[:1, :16, :32, :3]), film[:1, :16, :32, :3])
    back = seedvr2_post_processing(ctx, images=ready, original_resized_images=film, color_correction_method="none")
    assert torch.equal(back, film)
    with pytest.raises(BadInput, match="fewer or smaller than the 6 originals of 33x20"):
        seedvr2_post_processing(ctx, images=ready[:4], original_resized_images=film, color_correction_method="lab")


@pytest.mark.parametrize("method", ["lab", "wavelet", "adain"])
def test_colours_come_from_the_original(method: str) -> None:
    ctx, original = Bench(Path()).context(), torch.rand(2, 64, 64, 3) * 0.4
    tinted = original * 0.5 + torch.tensor([0.4, 0.1, 0.0])
    made = seedvr2_post_processing(ctx, images=tinted, original_resized_images=original, color_correction_method=method)
    off = [(x.mean(dim=(1, 2)) - original.mean(dim=(1, 2))).abs().max() for x in (tinted, made)]
    assert off[0] > 0.2 and off[1] < 0.02
    assert not torch.equal(made, original) and made.shape == original.shape


def test_texts(tmp_path: Path) -> None:
    """From the model's file, from files beside others, or as shipped; who samples with one that is nowhere is told."""
    bench = Bench(tmp_path)
    latent = {"samples": torch.zeros(1, 16, 1, 4, 6)}
    net, large = model(tmp_path), model(tmp_path, "seedvr2_7b_int8_convrot.safetensors")
    said = seedvr2_conditioning(bench.context(), model=net, vae_conditioning=latent)
    assert torch.equal(said.positive[0][0], shipped()) and shipped().shape == (1, 58, 5120)
    assert abs(float(shipped().std()) - 0.975) < 1e-3 and bool(shipped().isfinite().all())
    own = seedvr2_conditioning(bench.context(), model=large, vae_conditioning=latent)
    assert own.positive[0][0].shape == (1, 3, 5120) and own.negative[0][0].shape == (1, 4, 5120)
    with pytest.raises(BadInput, match="neither in the model's file nor among the files"):
        ksampler(bench.context(), model=net, positive=said.positive, negative=said.negative, latent_image=latent, **STEP | {"cfg": 2.0})
    bench.folders.create()
    folder = bench.folders.models / "text_encoders"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(torch.full((64, 5120), 2.0), folder / "neg_emb.pt")
    found = seedvr2_conditioning(bench.context(), model=net, vae_conditioning=latent)
    assert torch.equal(found.negative[0][0], torch.full((1, 64, 5120), 2.0))
    save_safetensors(folder / "pos_emb.safetensors", {"a": torch.zeros(3, 4)})
    with pytest.raises(BadFile, match=r"one text of SeedVR2, 5120 wide; it holds \[3, 4\]"):
        seedvr2_conditioning(bench.context(), model=net, vae_conditioning=latent)


@pytest.mark.parametrize("frames", [1, 3])
def test_one_step_is_noise_less_the_velocity(tmp_path: Path, frames: int) -> None:
    """x0 = noise - v(noise beside the latent beside ones, 1000), in the latent's own scale."""
    bench, net = Bench(tmp_path), model(tmp_path)
    latent = torch.randn(1, 16, frames, 5, 6, generator=torch.Generator().manual_seed(1))
    said = seedvr2_conditioning(bench.context(), model=net, vae_conditioning={"samples": latent})
    told: Any = {"positive": said.positive, "negative": said.negative, "latent_image": {"samples": latent}}
    made: Tensor = ksampler(bench.context(), model=net, **told, **STEP)["samples"]
    noise = torch.randn(latent.shape, generator=torch.manual_seed(5))
    seen = torch.cat([noise, latent * 0.9152, torch.ones(1, 1, frames, 5, 6)], dim=1)
    with torch.inference_mode(), bench.services.pool.lease(net.leasable()) as loaded:
        velocity = loaded(seen, torch.full((1,), 1000.0), shipped())
    assert torch.allclose(made, SEEDVR2.process_out(noise - velocity), atol=1e-5)


def test_parts_that_do_not_belong(tmp_path: Path) -> None:
    bench, net = Bench(tmp_path), model(tmp_path)
    latent = {"samples": torch.zeros(1, 16, 1, 4, 6)}
    with pytest.raises(BadInput, match="has 4 channels; SeedVR2 restores latents of 16"):
        seedvr2_conditioning(bench.context(), model=net, vae_conditioning={"samples": torch.zeros(1, 4, 4, 6)})
    tiny.make().single(tmp_path / "sd.safetensors")
    other = load_diffusion_model(tmp_path / "sd.safetensors", tiny.services(tmp_path))
    with pytest.raises(BadInput, match="The model is Stable Diffusion 1"):
        seedvr2_conditioning(bench.context(), model=other, vae_conditioning=latent)
    said = seedvr2_conditioning(bench.context(), model=net, vae_conditioning=latent)
    told: Any = {"positive": said.positive, "negative": said.negative}
    with pytest.raises(BadInput, match="restore a latent of 6x4 cells while one of 8x4 is sampled"):
        ksampler(bench.context(), model=net, **told, latent_image={"samples": torch.zeros(1, 16, 1, 4, 8)}, **STEP)
    plain: Any = {"positive": [[shipped(), {}]], "negative": [[shipped(), {}]]}
    with pytest.raises(BadInput, match="its conditioning holds none"):
        ksampler(bench.context(), model=net, **plain, latent_image=latent, **STEP)


def test_files(tmp_path: Path) -> None:
    """Sizes from shapes; an autoencoder that is no other's; tiles and whole films agree in shape."""
    assert model(tmp_path).sizes == SMALL
    MAKERS["seedvr2_ema_vae_fp16.safetensors"](tmp_path / "vae.safetensors")
    vae, pool = load_vae(tmp_path / "vae.safetensors", tiny.services(tmp_path)), Bench(tmp_path).services.pool
    assert vae.sizes == VAE and (vae.factor, vae.channels) == (8, 16)
    film = torch.rand(5, 32, 48, 3)
    assert vae.encode(film[:1], pool).shape == (1, 16, 1, 4, 6) and vae.encode(film, pool).shape == (1, 16, 2, 4, 6)
    latent = vae.encode_tiled(film, pool, 32, 16)
    assert latent.shape == (1, 16, 2, 4, 6) and vae.decode_tiled(latent, pool, 32, 16).shape == (1, 5, 32, 48, 3)
    assert vae.decode(latent[:, :, :1], pool).shape == (1, 32, 48, 3) and vae.decode(latent, pool).shape == (1, 5, 32, 48, 3)
