"""Train the autoencoder: first on 64-pixel crops, which cost a quarter, then on whole pictures."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from backend.codecs.kl.net import AttnBlock, AutoencoderKL, ResnetBlock
from backend.nn.layers import init_weights
from tools.train_tiny.draw import SIDE, draw, imagine, scribble
from tools.train_tiny.fast import speed_up
from tools.train_tiny.settings import VAE

Pixels = NDArray[np.uint8]
KL_WEIGHT = 5e-3
EDGE_WEIGHT = 0.5
LATENT_NOISE = 0.06
POLISH_NOISE = 0.1
POLISH_EDGES = 1.0
LEAD_SCALE = 1.5
"""At first three latents are asked to be the eight times smaller picture times this; it saves minutes of finding out about colours."""
LEAD_SHARE = 0.3
"""Share of the time after which nothing is asked of them any more."""
CROP = 64
CROP_SHARE = 0.6
"""Share of the time spent on crops."""


def pictures(count: int, seed: int, scribbles: float = 0.15) -> Pixels:
    """[count, SIDE, SIDE, 3] training pictures; the share `scribbles` of them is of anything."""
    rng = np.random.default_rng(seed)
    out = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(count):
        out[i] = scribble(rng) if rng.random() < scribbles else draw(imagine(rng))
    return out


def busiest_crop(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Of three random crops the one with most going on: most of a picture is plain background."""
    corners = rng.integers(0, SIDE - CROP + 1, (3, 2))
    crops = [picture[y : y + CROP, x : x + CROP] for x, y in corners]
    return max(crops, key=lambda crop: float(crop[::4, ::4].std()))


def batch(data: Pixels, rng: np.random.Generator, crops: bool) -> Tensor:
    """[B, 3, H, W] in [-1, 1], channels-last."""
    chosen = rng.integers(0, len(data), 16 if crops else 5)
    rows = np.stack([busiest_crop(data[i], rng) if crops else data[i] for i in chosen])
    return torch.from_numpy(rows).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def begin(seed: int) -> AutoencoderKL:
    """A fresh net whose residual branches start at nothing, so that colours pass from the first step."""
    torch.manual_seed(seed)
    net = AutoencoderKL(VAE)
    init_weights(net)
    for module in net.modules():
        if isinstance(module, ResnetBlock):
            torch.nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, AttnBlock):
            torch.nn.init.zeros_(module.proj_out.weight)
    speed_up(net)
    return net


def losses(net: AutoencoderKL, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixel L1, L1 of the pixel differences (edges), KL per pixel value, and the distance of three latents from the small picture."""
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = net.encode_moments(x).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-14, 4)
        variance = log_variance.exp()
        z = mean + variance.sqrt() * torch.randn_like(mean) + LATENT_NOISE * torch.randn_like(mean)
        y = net.decode(z)
    error = y.float() - x
    edges = F.l1_loss(error[..., 1:], error[..., :-1]) + F.l1_loss(error[..., 1:, :], error[..., :-1, :])
    kl = 0.5 * (mean.square() + variance - 1 - log_variance).sum() / x.numel()
    lead = F.l1_loss(mean[:, :3], LEAD_SCALE * F.avg_pool2d(x, VAE.factor))
    return error.abs().mean(), edges, kl, lead


@torch.no_grad()
def show(net: AutoencoderKL, data: Pixels, path: Path) -> float:
    """Write pairs (original above, round trip below) and return the PSNR in decibels."""
    x = torch.from_numpy(data).permute(0, 3, 1, 2).float() / 127.5 - 1
    y = net.decode(net.encode(x)).clamp(-1, 1)
    back = ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(part[i : i + 12]), 1) for i in range(0, len(data), 12) for part in (data, back)]
    Image.fromarray(np.concatenate(rows, 0)).save(path)
    return 10 * math.log10(4 / float((y - x).square().mean()))


def train(work: Path, seconds: float, seed: int = 1) -> None:
    """Train for `seconds` and leave vae.pt in `work`."""
    net = begin(seed)
    data, held = pictures(20_000, seed), pictures(24, seed + 1)
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {len(data)} pictures", flush=True)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    start = last = time.monotonic()
    step = 0
    while (now := time.monotonic()) - start < seconds:
        done = (now - start) / seconds
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, step / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        pixel, edges, kl, lead = losses(net, batch(data, rng, crops=done < CROP_SHARE))
        loss = pixel + EDGE_WEIGHT * edges + KL_WEIGHT * kl + 0.3 * max(0.0, 1 - done / LEAD_SHARE) * lead
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 50 == 0:
            print(f"{now - start:6.0f}s step {step} l1 {pixel:.4f} edges {edges:.4f} kl {kl:.3f} lead {lead:.3f}", flush=True)
        if now - last > 60:
            last = now
            print(f"psnr {show(net, held, work / 'vae.png'):.2f} dB", flush=True)
            torch.save(net.state_dict(), work / "vae.pt")
    torch.save(net.state_dict(), work / "vae.pt")
    print(f"done after {step} steps: psnr {show(net, held, work / 'vae.png'):.2f} dB", flush=True)


def polish(work: Path, seconds: float, seed: int = 3) -> None:
    """Train only the decoder further, so that latents made before stay valid. Rewrites vae.pt."""
    torch.manual_seed(seed)
    net = begin(seed)
    net.load_state_dict(torch.load(work / "vae.pt", weights_only=True))
    net.encoder.requires_grad_(False)
    net.quant_conv.requires_grad_(False)
    data, held = pictures(6_000, seed, scribbles=0.1), pictures(24, 2)
    weights = [p for p in net.parameters() if p.requires_grad]
    rng, optimiser = np.random.default_rng(seed), torch.optim.AdamW(weights, betas=(0.9, 0.98), weight_decay=1e-4)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        x = batch(data, rng, crops=done < CROP_SHARE and step % 2 == 0)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                z = net.encode(x).float()
            error = net.decode(z + POLISH_NOISE * torch.randn_like(z)).float() - x
        edges = F.l1_loss(error[..., 1:], error[..., :-1]) + F.l1_loss(error[..., 1:, :], error[..., :-1, :])
        loss = error.abs().mean() + POLISH_EDGES * edges
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        step += 1
        if step % 50 == 0:
            print(f"{time.monotonic() - start:6.0f}s step {step} l1 {error.abs().mean():.4f} edges {edges:.4f}", flush=True)
    torch.save(net.state_dict(), work / "vae.pt")
    print(f"polished in {step} steps: psnr {show(net, held, work / 'vae.png'):.2f} dB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/tiny"))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--polish", action="store_true", help="train only the decoder of the autoencoder that is there")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    (polish if args.polish else train)(args.work, args.minutes * 60)


if __name__ == "__main__":
    main()
