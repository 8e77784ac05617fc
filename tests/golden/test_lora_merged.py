"""A checkpoint with a LoRA on it makes the latents of a checkpoint that the LoRA was merged into, through the product's own loading."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.diffusion.ksample import ksample
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from backend.weights.lora import apply
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import kinds, tiny

PROMPT, RANK = "a (red:1.2) cat", 2
MODEL_STRENGTH, CLIP_STRENGTH = 0.8, 0.5
CHANGED = ("to_q.weight", "to_v.weight", "q_proj.weight", "v_proj.weight", "fc1.weight", "conv1.weight")


def draw(path: Path, lora: Path | None) -> Tensor:
    """Four steps on a random latent."""
    loaded, pool = load_checkpoint(path, tiny.services(path.parent)), Pool("cpu")
    model: Any = loaded.model
    clip: Any = loaded.clip
    if lora is not None:
        model, clip, report = apply(model, clip, open_weights(lora), MODEL_STRENGTH, CLIP_STRENGTH)
        assert report.model and report.clip and not report.unmatched
    positive, negative = clip.conditioning(PROMPT, pool), clip.conditioning("", pool)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    out: Tensor = ksample(model, 3, 4, 5.0, "euler", "normal", positive, negative, latent, pool=pool)["samples"]
    return out


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_as_merged(family: str, tmp_path: Path) -> None:
    twin = kinds.make(family)
    merged = copy.deepcopy(twin)
    first = "lora_te1_" if family == "sdxl" else "lora_te_"
    spelled: dict[str, tuple[Any, float]] = {
        "lora_unet_": (merged.unet, MODEL_STRENGTH),
        first: (merged.texts["text_encoder"], CLIP_STRENGTH),
    }
    if family == "sdxl":
        spelled["lora_te2_"] = (merged.texts["text_encoder_2"], CLIP_STRENGTH)
    generator = torch.Generator().manual_seed(5)
    factors: dict[str, Tensor] = {}
    for prefix, (net, strength) in spelled.items():
        for name, weight in net.named_parameters():
            if not name.endswith(CHANGED):
                continue
            up = torch.randn(weight.shape[0], RANK, *[1] * (weight.dim() - 2), generator=generator) * 0.2
            down = torch.randn(RANK, *weight.shape[1:], generator=generator) * 0.2
            name = name if prefix == "lora_unet_" or name.startswith("text_model.") else f"text_model.{name}"
            module = prefix + name.removesuffix(".weight").replace(".", "_")
            factors |= {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down, f"{module}.alpha": torch.tensor(1.0)}
            weight.data += strength / RANK * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    plain, lora, whole = (tmp_path / f"{name}.safetensors" for name in ("plain", "lora", "merged"))
    twin.single(plain)
    merged.single(whole)
    save_safetensors(lora, factors)
    patched, want = draw(plain, lora), draw(whole, None)
    size = float(want.std())  # random nets leave latents a hundred times too large
    assert (patched - want).abs().max() / size < 1e-4
    assert (patched - draw(plain, None)).abs().max() / size > 1e-2
