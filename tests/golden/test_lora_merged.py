"""A checkpoint with a LoRA on it makes the latents of a checkpoint that the LoRA was merged into, through the product's own loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.ksample import ksample
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from backend.weights.lora import apply
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import tiny

PROMPT, RANK = "a (red:1.2) cat", 2
MODEL_STRENGTH, CLIP_STRENGTH = 0.8, 0.5


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


def test_as_merged(tmp_path: Path) -> None:
    state = tiny.make().single_state()
    generator = torch.Generator().manual_seed(5)
    factors: dict[str, Tensor] = {}
    merged = dict(state)
    for prefix, kohya, strength in (
        ("model.diffusion_model.", "lora_unet_", MODEL_STRENGTH),
        ("cond_stage_model.transformer.", "lora_te_", CLIP_STRENGTH),
    ):
        for key, weight in state.items():
            name = key.removeprefix(prefix).removesuffix(".weight")
            if not key.startswith(prefix) or not name.endswith(("to_q", "to_v", "q_proj", "fc1", "in_layers.2")):
                continue
            up = torch.randn(weight.shape[0], RANK, *[1] * (weight.dim() - 2), generator=generator) * 0.2
            down = torch.randn(RANK, *weight.shape[1:], generator=generator) * 0.2
            module = kohya + name.replace(".", "_")
            factors |= {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down, f"{module}.alpha": torch.tensor(1.0)}
            merged[key] = weight + strength / RANK * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    for name, tensors in (("plain", state), ("merged", merged), ("lora", factors)):
        save_safetensors(tmp_path / f"{name}.safetensors", tensors)
    plain = draw(tmp_path / "plain.safetensors", None)
    patched = draw(tmp_path / "plain.safetensors", tmp_path / "lora.safetensors")
    want = draw(tmp_path / "merged.safetensors", None)
    size = float(want.std())  # random nets leave latents a hundred times too large
    assert (patched - want).abs().max() / size < 1e-4
    assert (patched - plain).abs().max() / size > 1e-2
