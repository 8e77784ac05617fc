"""Look at a training run: a sheet of pictures painted from its averaged weights, many prompts in one batch."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tools.train_tiny.captions import ids
from tools.train_tiny.dataset import load_vae
from tools.train_tiny.model import Painter, load
from tools.train_tiny.train_unet import alphas_cumprod

PROMPTS = (
    "a large red star on a blue background",
    "a small yellow circle in the top left corner on a black background",
    "green triangle, white background",
    "a pink heart on a sunset background",
    "a purple ring at the bottom on a gray background",
    "a red square to the left of a blue circle on a white background",
    "an orange diamond above a green cross",
    "a cyan cross on a checkered background",
    "a large yellow star in front of a night sky",
    "a big blue diamond",
    "",
    "a beautiful picture of a pink star, masterpiece",
)


@torch.no_grad()
def paint(net: Painter, prompts: list[str], seed: int, steps: int = 20, guidance: float = 5.0) -> Tensor:
    """Normalised latents [N, 4, 16, 16] by DPM-Solver++ (2M, Lu et al. 2022) over evenly spaced timesteps."""
    alphas = alphas_cumprod()
    sigmas_all = ((1 - alphas) / alphas).sqrt()
    times = torch.linspace(len(alphas) - 1, 0, steps).round().long()
    sigmas = torch.cat([sigmas_all[times], torch.zeros(1)])
    context = torch.cat([net.read(torch.tensor([ids(p) for p in prompts])), net.read(torch.tensor([ids("")])).repeat(len(prompts), 1, 1)])
    x = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(seed)) * sigmas[0]
    before: Tensor | None = None
    for i, t in enumerate(times):
        scaled = (x / (sigmas[i] ** 2 + 1).sqrt()).repeat(2, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=False):
            told, free = net.unet(scaled.contiguous(memory_format=torch.channels_last), t.repeat(len(scaled)), context).chunk(2)
        x0 = x - sigmas[i] * (free + guidance * (told - free))
        if sigmas[i + 1] == 0:
            return x0
        h = (sigmas[i] / sigmas[i + 1]).log()
        towards = x0
        if before is not None:
            r = (sigmas[i - 1] / sigmas[i]).log() / h
            towards = (1 + 1 / (2 * r)) * x0 - before / (2 * r)
        x = sigmas[i + 1] / sigmas[i] * x - torch.expm1(-h) * towards
        before = x0
    return x


@torch.no_grad()
def pictures(work: Path, z: Tensor) -> NDArray[np.uint8]:
    """[N, 128, 128, 3] of normalised latents."""
    saved = torch.load(work / "painter.pt", weights_only=True)
    y = load_vae(work).decode(z * saved["std"] + saved["mean"])
    out: NDArray[np.uint8] = ((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/tiny"))
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    net = load(args.work / "painter.pt")
    prompts = list(PROMPTS) * args.seeds
    found = pictures(args.work, paint(net, prompts, seed=0, guidance=args.guidance))
    rows = [np.concatenate(list(found[i : i + len(PROMPTS)]), 1) for i in range(0, len(found), len(PROMPTS))]
    Image.fromarray(np.concatenate(rows, 0)).save(args.work / "samples.png")


if __name__ == "__main__":
    main()
