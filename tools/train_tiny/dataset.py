"""What the denoiser is trained on: latents of drawn pictures, and several wordings of each as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.codecs.kl.net import AutoencoderKL
from tools.train_tiny.captions import caption, ids
from tools.train_tiny.draw import SIDE, Picture, draw, imagine
from tools.train_tiny.fast import speed_up
from tools.train_tiny.settings import VAE

WORDINGS = 6
"""Wordings kept per picture."""


@dataclass(frozen=True)
class Latents:
    """Latents [N, 4, 16, 16] with mean 0 and standard deviation 1 per channel; what was taken off and divided by; ids [N, WORDINGS, 77]."""

    z: Tensor
    mean: Tensor
    std: Tensor
    tokens: Tensor


def load_vae(work: Path) -> AutoencoderKL:
    """The trained autoencoder, laid out for speed."""
    net = AutoencoderKL(VAE)
    net.load_state_dict(torch.load(work / "vae.pt", weights_only=True))
    speed_up(net)
    return net.eval()


@torch.no_grad()
def encode(net: AutoencoderKL, pixels: NDArray[np.uint8]) -> Tensor:
    """Latents of [N, SIDE, SIDE, 3] pictures, 32 at a time."""
    out = []
    for start in range(0, len(pixels), 32):
        x = torch.from_numpy(pixels[start : start + 32]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        with torch.autocast("cpu", torch.bfloat16):
            out.append(net.encode(x.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(out)


def build(work: Path, count: int, seed: int = 100) -> Latents:
    """Draw, word and encode `count` pictures, or read what an earlier call left in `work`."""
    path = work / f"latents-{count}.pt"
    if not path.exists():
        rng = np.random.default_rng(seed)
        net = load_vae(work)
        parts: list[Tensor] = []
        tokens = np.empty((count, WORDINGS, 77), dtype=np.int32)
        for start in range(0, count, 512):
            pictures: list[Picture] = [imagine(rng) for _ in range(min(512, count - start))]
            pixels = np.empty((len(pictures), SIDE, SIDE, 3), dtype=np.uint8)
            for i, picture in enumerate(pictures):
                pixels[i] = draw(picture)
                for j in range(WORDINGS):
                    tokens[start + i, j] = ids(caption(picture, rng))
            parts.append(encode(net, pixels))
        z = torch.cat(parts)
        mean, std = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), keepdim=True)
        torch.save({"z": ((z - mean) / std).half(), "mean": mean, "std": std, "tokens": torch.from_numpy(tokens)}, path)
    saved = torch.load(path, weights_only=True)
    return Latents(saved["z"].float(), saved["mean"], saved["std"], saved["tokens"].long())
