"""The safety checker flags what diffusers' flags; marks are read back, and by the library that others use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig

from backend.base.errors import BadInput, UnknownModel
from backend.encoders.clip_vision.handle import prepared
from backend.encoders.clip_vision.safety import load_safety_checker
from backend.imaging import watermark
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes import safety
from tests.nodes.bench import Bench

VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 16, "image_size": 32, "patch_size": 8}


def twin() -> StableDiffusionSafetyChecker:
    torch.manual_seed(0)
    made = StableDiffusionSafetyChecker(CLIPConfig(vision_config=VISION, projection_dim=16)).eval()
    for name in ("concept_embeds", "special_care_embeds"):
        torch.nn.init.normal_(getattr(made, name))
    for name in ("concept_embeds_weights", "special_care_embeds_weights"):
        torch.nn.init.uniform_(getattr(made, name), 0.3, 0.6)
    return made


def published(checker: StableDiffusionSafetyChecker) -> dict[str, torch.Tensor]:
    """The names that files have."""
    state = {key.replace("vision_model.", "vision_model.vision_model.", 1): value for key, value in checker.state_dict().items()}
    return {key.replace("vision_model." * 3, "vision_model." * 2): value for key, value in state.items()}


def test_the_same_pictures_are_flagged(tmp_path: Path) -> None:
    reference, bench = twin(), Bench(tmp_path)
    file = bench.folders.models / "clip_vision" / "checker.safetensors"
    file.parent.mkdir(parents=True)
    save_safetensors(file, published(reference))
    ctx = bench.context()
    checker = safety.load_checker(ctx, name="checker.safetensors")
    colours = torch.rand(24, 1, 1, 3, generator=torch.Generator().manual_seed(2))
    images = (colours + torch.rand(24, 40, 48, 3, generator=torch.Generator().manual_seed(1)) * 0.5).clamp(0, 1)
    for shift in (-0.1, 0.0, 0.1):
        with torch.no_grad():
            for name in ("concept_embeds_weights", "special_care_embeds_weights"):
                getattr(reference, name).add_(shift)
            _, expected = reference(prepared(images, 32), [image.numpy() for image in images])
        tables = {name: value.detach().clone() for name, value in reference.named_parameters() if "embeds" in name}
        moved = type(checker)(
            checker.encoder, tables["concept_embeds"], tables["concept_embeds_weights"], tables["special_care_embeds"],
            tables["special_care_embeds_weights"],
        )  # fmt: skip
        assert moved.flagged(images, Pool("cpu")) == expected
    assert any(expected) or any(checker.flagged(images, Pool("cpu"), 0.3))
    found = safety.safety_check(ctx, images=images, safety_checker=checker, action="blacken", sensitivity=1.0)
    assert found.flagged and not found.images.any() and "24 of 24" in bench.texts()[-1]
    blurred = safety.safety_check(ctx, images=images, safety_checker=checker, action="blur", sensitivity=1.0).images
    assert blurred.shape == images.shape and blurred.std(dim=(1, 2)).mean() < images.std(dim=(1, 2)).mean() / 3
    assert safety.safety_check(ctx, images=images, safety_checker=checker, action="stop", sensitivity=-1.0).images is images
    with pytest.raises(BadInput, match="flagged"):
        safety.safety_check(ctx, images=images, safety_checker=checker, action="stop", sensitivity=1.0)
    save_safetensors(file, {"a": torch.zeros(1)})
    with pytest.raises(UnknownModel, match="no safety checker"):
        load_safety_checker(file)


def test_marks(tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    y, x = torch.meshgrid(torch.linspace(0, 1, 72), torch.linspace(0, 1, 101), indexing="ij")
    noise = torch.rand(72, 101, 3, generator=torch.Generator().manual_seed(0))
    images = torch.stack([torch.stack([x, y, (x * y * 3).sin()], -1), noise])
    marked = safety.invisible_watermark(ctx, images=images, text="Äb")
    saved = (marked * 255).round() / 255
    assert safety.read_watermark(ctx, images=saved, length=3) == "Äb\nÄb" and (marked - images).abs().mean() < 0.005
    brighter = (saved * 255 * 0.97 + 3).round() / 255
    assert watermark.text_of(watermark.read(brighter, 24)[0]) == "Äb"
    with pytest.raises(BadInput, match="does not fit"):
        safety.invisible_watermark(ctx, images=images[:, :16, :16], text="too long")
    with pytest.raises(BadInput, match="holds no mark"):
        safety.read_watermark(ctx, images=images[:, :8, :8], length=4)
