"""The whole recipe in one command: autoencoder, denoiser, export."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.train_tiny.dataset import build
from tools.train_tiny.export import TARGET, write
from tools.train_tiny.train_unet import Trainer
from tools.train_tiny.train_vae import polish, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.train_tiny", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/tiny"), help="where pictures, latents and checkpoints are kept")
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--vae-minutes", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=49, help="for the denoiser")
    parser.add_argument("--polish-minutes", type=float, default=10, help="for the decoder of the autoencoder, at the end")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    if not (args.work / "vae.pt").exists():
        train(args.work, args.vae_minutes * 60)
    trainer = Trainer(args.work, build(args.work, args.pictures), seed=2)
    trainer.run(args.minutes * 60)
    polish(args.work, args.polish_minutes * 60)
    print(f"{args.target}: {write(args.work, args.target)} bytes")


if __name__ == "__main__":
    main()
