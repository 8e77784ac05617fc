"""Write what was trained as one half-precision file in the layout of Stable Diffusion 1.x checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from backend.encoders.clip.vocabulary import SIZE
from backend.weights.save import save_safetensors
from tools.train_tiny.model import load
from tools.train_tiny.settings import LATENT_SCALE

LIMIT = 14_000_000
"""Bytes the file may have."""
TARGET = Path("models/checkpoints/emulsion-tiny.safetensors")


def rescaled(vae: dict[str, Tensor], mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """The autoencoder whose latents times LATENT_SCALE are those of `vae` less `mean`, over `std` [1, 4, 1, 1]: folded into the 1x1s."""
    mean, std = mean.flatten(), std.flatten() * LATENT_SCALE
    channels = len(mean)
    out = dict(vae)
    weight, bias = vae["quant_conv.weight"].clone(), vae["quant_conv.bias"].clone()
    weight[:channels] /= std[:, None, None, None]
    bias[:channels] = (bias[:channels] - mean) / std
    bias[channels:] -= 2 * std.log()
    out["quant_conv.weight"], out["quant_conv.bias"] = weight, bias
    weight = vae["post_quant_conv.weight"]
    out["post_quant_conv.bias"] = vae["post_quant_conv.bias"] + weight[:, :, 0, 0] @ mean
    out["post_quant_conv.weight"] = weight * std[None, :, None, None]
    return out


def embeddings(words: Tensor, table: Tensor) -> Tensor:
    """[SIZE, width]: the rows of `words` from `table` [n + 1, width], and its last row for every other word."""
    full = table[-1].repeat(SIZE, 1)
    full[words] = table[:-1]
    return full


def tensors(work: Path) -> dict[str, Tensor]:
    """Every tensor of the file by its published name, in half precision."""
    net = load(work / "painter.pt")
    saved = torch.load(work / "painter.pt", weights_only=True)
    vae = torch.load(work / "vae.pt", weights_only=True)
    text = dict(net.text.state_dict())
    name = "text_model.embeddings.token_embedding.weight"
    text[name] = embeddings(net.words, text[name])
    parts = {
        "first_stage_model.": rescaled(vae, saved["mean"], saved["std"]),
        "model.diffusion_model.": net.unet.state_dict(),
        "cond_stage_model.transformer.": text,
    }
    return {prefix + key: value.half().contiguous() for prefix, part in parts.items() for key, value in part.items()}


def write(work: Path, target: Path) -> int:
    """Write the file and return its size in bytes. Raises ValueError where it is larger than LIMIT."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    save_safetensors(part, tensors(work), {"format": "pt", "title": "Emulsion tiny", "license": "Apache-2.0"})
    size = part.stat().st_size
    if size > LIMIT:
        raise ValueError(f"{part} has {size} bytes, more than the {LIMIT} allowed")
    part.chmod(0o644)
    part.replace(target)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/tiny"))
    parser.add_argument("--target", type=Path, default=TARGET)
    args = parser.parse_args()
    print(f"{args.target}: {write(args.work, args.target)} bytes")


if __name__ == "__main__":
    main()
