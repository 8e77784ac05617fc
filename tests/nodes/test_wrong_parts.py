"""Parts of different families, latents, masks and pictures of other sizes: refused by name before sampling starts, or made to fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.families.load import load_checkpoint
from backend.weights.save import save_safetensors
from nodes import conditioning, sampling, vae
from tests.families import kinds
from tests.nodes.bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def sides(bench: Bench) -> dict[str, Any]:
    return {
        name: load_checkpoint(kinds.make(name).single(bench.folders.models / "checkpoints" / f"{name}.safetensors"), bench.services)
        for name in ("sd1", "sdxl")
    }


def encoded(bench: Bench, side: Any, text: str = "a cat") -> Any:
    return conditioning.clip_text_encode(bench.context(), text=text, clip=side.clip)


def sampled(bench: Bench, model: Any, text: Any, samples: Tensor, mask: Tensor | None = None) -> Tensor:
    latent = {"samples": samples} if mask is None else {"samples": samples, "noise_mask": mask}
    made: Tensor = sampling.ksampler(
        bench.context(), model=model, seed=1, steps=1, cfg=2.0, sampler_name="euler", scheduler="normal", positive=text, negative=text,
        latent_image=latent, denoise=1.0,
    )["samples"]  # fmt: skip
    return made


def test_text_of_another_family(bench: Bench, sides: dict[str, Any]) -> None:
    x = torch.zeros(1, 4, 8, 8)
    with pytest.raises(BadInput, match="text encoding is 128 wide, but this Stable Diffusion 1 model takes 64"):
        sampled(bench, sides["sd1"].model, encoded(bench, sides["sdxl"]), x)
    with pytest.raises(BadInput, match="text encoding is 64 wide, but this Stable Diffusion XL model takes 128"):
        sampled(bench, sides["sdxl"].model, encoded(bench, sides["sd1"]), x)


@pytest.mark.parametrize("shape", [(1, 16, 8, 8), (1, 4, 1, 8, 8)])
def test_latents_of_another_family(shape: tuple[int, ...], bench: Bench, sides: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="this Stable Diffusion 1 model works on 4 channels of 2 dimensions") as caught:
        sampled(bench, sides["sd1"].model, encoded(bench, sides["sd1"]), torch.ones(shape))
    assert caught.value.where.input == "latent_image"
    with pytest.raises(BadInput, match="This VAE decodes latents of 4 channels"):
        vae.vae_decode(bench.context(), samples={"samples": torch.ones(1, 16, 8, 8)}, vae=sides["sd1"].vae)


@pytest.mark.parametrize("shape", [(1, 16, 16, 1), (1, 16, 16, 2), (1, 16, 16)])
def test_pictures_of_other_channels(shape: tuple[int, ...], bench: Bench, sides: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"An image batch \[count, height, width, 3 channels\] is needed; got the shape"):
        vae.vae_encode(bench.context(), pixels=torch.rand(shape), vae=sides["sd1"].vae)


def test_transparency_is_dropped(bench: Bench, sides: dict[str, Any]) -> None:
    picture = torch.rand(1, 16, 16, 4)
    made = [vae.vae_encode(bench.context(), pixels=p, vae=sides["sd1"].vae)["samples"] for p in (picture, picture[..., :3])]
    assert torch.equal(made[0], made[1])


def test_masks_of_another_size_are_resized(bench: Bench, sides: dict[str, Any]) -> None:
    text, start = encoded(bench, sides["sd1"]), torch.randn(1, 4, 8, 8)
    mask = torch.zeros(1, 40, 24)
    mask[:, 20:] = 1
    small = torch.zeros(1, 1, 8, 8)
    small[:, :, 4:] = 1
    made = [sampled(bench, sides["sd1"].model, text, start, m) for m in (mask, small, small.expand(3, -1, -1, -1))]
    assert torch.allclose(made[0][:, :, :3], start[:, :, :3], atol=1e-4) and not torch.allclose(
        made[0][:, :, 5:], start[:, :, 5:], atol=1e-2
    )
    assert torch.equal(made[1], made[2])


def test_embeddings_of_sdxl_and_of_other_families(bench: Bench, sides: dict[str, Any]) -> None:
    """One file holds a vector for each encoder of SDXL; each takes its own."""
    folder, clip = bench.folders.models / "embeddings", sides["sdxl"].clip
    widths = {f"clip_{part.branch}": part.sizes.width for part in clip.parts}
    vectors = {key: torch.randn(2, width) for key, width in widths.items()}
    save_safetensors(folder / "pair.safetensors", vectors)
    tokens = clip.tokenize("a embedding:pair")
    for part in clip.parts:
        found = [token for token, *_ in tokens[part.branch][0] if isinstance(token, Tensor)]
        assert torch.equal(torch.stack(found), vectors[f"clip_{part.branch}"])
    with_pair = encoded(bench, sides["sdxl"], "a embedding:pair")
    assert not torch.allclose(with_pair[0][0], encoded(bench, sides["sdxl"], "a")[0][0])
    save_safetensors(folder / "sd2.safetensors", {"emb_params": torch.randn(1, 1024)})
    with pytest.raises(Exception, match=r"embedding sd2\.safetensors was made for SD 2 or OpenCLIP-H \(1024 wide\), this text encoder is"):
        encoded(bench, sides["sd1"], "a embedding:sd2")
