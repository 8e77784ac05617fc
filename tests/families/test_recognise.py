"""Every kind of model is recognised from its header alone, by exactly one family, with the sizes it was made with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from backend.base.errors import BadInput
from backend.diffusion.latent import PLAYGROUND
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.joint import JointText
from backend.families import save, shelf
from backend.families.load import load_checkpoint, load_diffusion_model, load_text_encoders
from backend.families.x2_upscaler.net import UpscalerSizes
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from nodes.image_conditioning import latent_upscaler_conditioning
from nodes.model_advanced import model_sampling_continuous_edm
from tests.families import kinds, tiny
from tests.nodes.bench import Bench

KINDS = {
    ("sd1", 4): "Stable Diffusion 1",
    ("sd1", 9): "Stable Diffusion 1 inpainting",
    ("sd1", 8): "InstructPix2Pix",
    ("lcm", 4): "Stable Diffusion 1 LCM",
    ("sd2", 4): "Stable Diffusion 2",
    ("sd2", 9): "Stable Diffusion 2 inpainting",
    ("sd2", 5): "Stable Diffusion 2 depth",
    ("sd2", 8): "Marigold",
    ("sdxl", 4): "Stable Diffusion XL",
    ("sdxl", 9): "Stable Diffusion XL inpainting",
    ("sdxl", 8): "Stable Diffusion XL InstructPix2Pix",
    ("refiner", 4): "Stable Diffusion XL refiner",
    ("unclip", 4): "Stable Diffusion 2 unCLIP",
    ("x4", 7): "Stable Diffusion x4 upscaler",
}


@pytest.mark.parametrize(("kind", "channels"), KINDS)
def test_one_family_and_its_sizes(kind: str, channels: int, tmp_path: Path) -> None:
    twin = kinds.make(kind, channels)
    loaded = load_checkpoint(twin.single(tmp_path / "m.safetensors"), tiny.services(tmp_path))
    assert loaded.model is not None and loaded.vae is not None and loaded.clip is not None and loaded.unmatched == ()
    assert loaded.model.family.name == KINDS[kind, channels]
    config, sizes = twin.unet.config, loaded.model.sizes
    assert sizes.in_channels == channels and sizes.channels == tuple(config.block_out_channels)
    assert sizes.context == config.cross_attention_dim and sizes.adm == config.projection_class_embeddings_input_dim
    assert sizes.linear == config.use_linear_projection and sizes.guidance == config.time_cond_proj_dim
    header = {
        key.removeprefix("model.diffusion_model."): Entry(tuple(value.shape), value.dtype, value.nbytes)
        for key, value in twin.state().items()
    }
    assert [family.name for family in shelf() if family.signature.matches(header)] == [KINDS[kind, channels]]
    expected = {"text_encoder": ("l",), "text_encoder_2": ("g",)}[next(iter(twin.texts))] if kind not in ("sd2", "unclip", "x4") else ("h",)
    branches = loaded.clip.branches if isinstance(loaded.clip, JointText) else (loaded.clip.branch,)
    assert branches == (("l", "g") if kind == "sdxl" else expected)


def test_a_net_of_another_make(tmp_path: Path) -> None:
    """The x2 latent upscaler, whose names are diffusers' even in a single file."""
    twin = kinds.make("x2")
    loaded = load_checkpoint(twin.single(tmp_path / "m.safetensors"), tiny.services(tmp_path))
    assert loaded.model is not None and loaded.vae is not None and loaded.clip is not None and loaded.unmatched == ()
    assert loaded.model.sizes == UpscalerSizes(channels=(64, 64, 128, 128), layers=2, context=64, condition=192)
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in twin.unet.state_dict().items()}
    assert [family.name for family in shelf() if family.signature.matches(header)] == [loaded.model.family.name]
    refiner = load_checkpoint(kinds.make("refiner").single(tmp_path / "r.safetensors"), tiny.services(tmp_path))
    ctx = Bench(tmp_path / "home").context()
    with pytest.raises(BadInput, match="reads CLIP-L alone"):
        latent_upscaler_conditioning(ctx, clip=refiner.clip, samples={"samples": torch.zeros(1, 4, 4, 4)})
    told = {"cross_attn": torch.zeros(1, 77, 64), "pooled_output": torch.zeros(1, 64)}
    with pytest.raises(BadInput, match="must be shown the latent to double"):
        loaded.model.family.inputs([told], loaded.model.sizes, (1, 4, 8, 8))


@pytest.mark.parametrize("kind", ["sd2", "sdxl", "refiner"])
def test_folders_say_the_same_as_single_files(kind: str, tmp_path: Path) -> None:
    twin, services, pool = kinds.make(kind), tiny.services(tmp_path), Pool()
    single = load_checkpoint(twin.single(tmp_path / "m.safetensors"), services)
    folders = [twin.folder(tmp_path / "a"), twin.folder(tmp_path / "b", "fp16"), twin.folder(tmp_path / "c", shard="300KB")]
    assert len(list((folders[2] / "unet").glob("*.safetensors"))) > 1
    assert single.model is not None and single.clip is not None
    want, pooled = single.clip.encode(single.clip.tokenize("a red cat"), pool)
    for folder in folders:
        loaded = load_checkpoint(folder, services)
        assert loaded.model is not None and loaded.clip is not None
        assert loaded.model.sizes == single.model.sizes and loaded.model.family is single.model.family
        if kind == "sd2":  # diffusers cuts the unread layer off; this twin kept it
            assert isinstance(loaded.clip, ClipHandle)
            continue
        cond, other = loaded.clip.encode(loaded.clip.tokenize("a red cat"), pool)
        assert (cond - want).abs().max() < 1e-6 and (other - pooled).abs().max() < 1e-6


def test_latents_normalised_by_channel(tmp_path: Path) -> None:
    """Playground 2.5: marked in single files, told by the VAE's configuration in folders, and marked again when saved."""
    twin, services = kinds.make("sdxl"), tiny.services(tmp_path)
    marks = {"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)}
    twin = replace(twin, scheduler={"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_max": 80.0, "prediction_type": "epsilon"})
    folder = twin.folder(tmp_path / "folder")
    config = json.loads((folder / "vae" / "config.json").read_text())
    config |= {"latents_mean": list(PLAYGROUND.means), "latents_std": list(PLAYGROUND.deviations)}
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    single = load_checkpoint(twin.single(tmp_path / "m.safetensors", marks), services)
    assert single.model is not None
    save.save(tmp_path / "again.safetensors", {}, single.model, single.clip, single.vae)
    for found in (single, load_checkpoint(folder, services), load_checkpoint(tmp_path / "again.safetensors", services)):
        assert found.model is not None and found.model.family.name == "Playground 2.5" and found.unmatched == ()
        assert found.model.noise.prediction.name == "edm" and found.model.noise.sigma_max == pytest.approx(80)
    plain = model_sampling_continuous_edm(
        Bench(tmp_path / "home").context(), model=load_checkpoint(twin.single(tmp_path / "p.safetensors"), services).model,
        sampling="edm_playground_v2.5", sigma_max=80.0, sigma_min=0.002,
    )  # fmt: skip
    assert plain.family.latent == PLAYGROUND and plain.noise.prediction.name == "edm"


def test_text_encoders_in_two_files(tmp_path: Path) -> None:
    twin, services = kinds.make("sdxl"), tiny.services(tmp_path)
    folder = twin.folder(tmp_path / "m")
    first, second = folder / "text_encoder", folder / "text_encoder_2"
    a, b = load_text_encoders([first, second], services, "sdxl"), load_text_encoders([second, first], services, "sdxl")
    assert a.branches == b.branches == ("l", "g")
    with pytest.raises(BadInput, match=r"CLIP-L.*and CLIP-L.*reads CLIP-L and OpenCLIP-bigG"):
        load_text_encoders([first, first], services, "sdxl")


def test_velocity_is_seen_in_the_weights(tmp_path: Path) -> None:
    """SD 2 with its twelve blocks on the way up, where the ecosystem looks."""
    config = {**kinds.SD2, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 2, "attention_head_dim": (1,) * 4}
    config |= {"down_block_types": (kinds.CROSS,) * 3 + (kinds.PLAIN,), "up_block_types": (kinds.UP_PLAIN,) + (kinds.UP_CROSS,) * 3}
    twin = kinds.Kind(UNet2DConditionModel(sample_size=8, **config), kinds.vae(), {}, {})
    state = twin.state()
    key = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    for name, values in (("eps", torch.zeros(32)), ("v", torch.linspace(-1, 1, 32))):
        save_safetensors(tmp_path / name, state | {key: values})
        assert load_diffusion_model(tmp_path / name, tiny.services(tmp_path)).noise.prediction.name == name


def test_cosxl_says_its_noise(tmp_path: Path) -> None:
    marks = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}
    services = tiny.services(tmp_path)
    model = load_checkpoint(kinds.make("sdxl").single(tmp_path / "m.safetensors", marks), services).model
    assert model is not None and model.family.name == "Stable Diffusion XL"
    assert (
        model.noise.prediction.name == "v" and model.noise.sigma_max == pytest.approx(120) and model.noise.sigma_min == pytest.approx(0.002)
    )
    edit = load_checkpoint(kinds.make("sdxl", 8).single(tmp_path / "e.safetensors", marks), services)
    assert edit.model is not None and edit.model.family.name == "CosXL editing" and edit.unmatched == ()
