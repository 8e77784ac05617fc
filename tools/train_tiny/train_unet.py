"""Train the text encoder and the denoiser together on cached latents, for a given time."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.encoders.clip.vocabulary import END, SIZE, START
from tools.train_tiny.dataset import Latents, build
from tools.train_tiny.model import Painter, begin
from tools.train_tiny.settings import BETAS

BATCH = 48
PEAK_RATE = 1.2e-3
WARM_UP = 150
COOL_DOWN = 0.3
"""The learning rate falls over this last share of the time."""
EMA_DECAY = 0.998
EMPTY_SHARE = 0.1
FOREIGN_SHARE = 0.1
"""How many captions get words put in that mean nothing to the model; a person's prompt will have some."""
UNKNOWN = 1
"""A token id (a lone quotation mark) no caption uses, so that it falls on the shared row."""


def alphas_cumprod() -> Tensor:
    """Signal variance left after each of the steps, [steps]."""
    first, last, steps = BETAS
    betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def weights(alphas: Tensor) -> Tensor:
    """Loss weight per timestep: min-SNR (Hang et al. 2023, gamma 5), raised at high noise where colour, shape and place are decided."""
    snr = alphas / (1 - alphas)
    return torch.minimum(snr, torch.tensor(5.0)) / snr * torch.clamp(snr, max=1).pow(-0.4)


def with_foreign_words(row: list[int], rng: np.random.Generator) -> list[int]:
    """The ids with one to four unknown ones put in somewhere between start and end."""
    inner = row[1 : row.index(END)]
    for _ in range(int(rng.integers(1, 5))):
        inner.insert(int(rng.integers(0, len(inner) + 1)), UNKNOWN)
    inner = inner[: len(row) - 2]
    return [START, *inner, *[END] * (len(row) - 1 - len(inner))]


def pick_tokens(data: Latents, chosen: Tensor, rng: np.random.Generator) -> Tensor:
    """One wording for each chosen picture, [B, 77]; some emptied, some with foreign words (also put into emptied ones)."""
    tokens = data.tokens[chosen, torch.from_numpy(rng.integers(0, data.tokens.shape[1], len(chosen)))].clone()
    tokens[torch.from_numpy(rng.random(len(chosen)) < EMPTY_SHARE), 1:] = END
    for i in np.flatnonzero(rng.random(len(chosen)) < FOREIGN_SHARE):
        tokens[i] = torch.tensor(with_foreign_words(tokens[i].tolist(), rng))
    return tokens


def rate(done: float, step: int) -> float:
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.0, 1 - done) / COOL_DOWN)


class Trainer:
    """One run; everything that a restart needs is in its file."""

    def __init__(self, work: Path, data: Latents, seed: int) -> None:
        used = torch.zeros(SIZE, dtype=torch.bool)
        used[torch.unique(data.tokens)] = True
        self.work, self.data = work, data
        self.net = begin(torch.nonzero(used).flatten(), seed)
        self.ema: Painter = begin(torch.nonzero(used).flatten(), seed)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self.rng = np.random.default_rng(seed)
        alphas = alphas_cumprod()
        self.signal, self.noise, self.weight = alphas.sqrt(), (1 - alphas).sqrt(), weights(alphas)
        self.step, self.seconds = 0, 0.0

    def resume(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.ema.load_state_dict(saved["ema"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.rng = np.random.default_rng(self.step)

    def save(self, path: Path) -> None:
        state = {"net": self.net.state_dict(), "ema": self.ema.state_dict(), "optimiser": self.optimiser.state_dict()}
        part = path.with_suffix(".part")
        torch.save({**state, "step": self.step, "seconds": self.seconds, "mean": self.data.mean, "std": self.data.std}, part)
        part.replace(path)

    def one(self, done: float) -> float:
        """One step; returns the weighted loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate(done, self.step)
        chosen = torch.from_numpy(self.rng.integers(0, len(self.data.z), BATCH))
        t = torch.from_numpy(((self.rng.permutation(BATCH) + self.rng.random(BATCH)) / BATCH * len(self.signal)).astype(np.int64))
        noise = torch.randn(BATCH, *self.data.z.shape[1:])
        x = self.data.z[chosen] * self.signal[t, None, None, None] + noise * self.noise[t, None, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            predicted = self.net(x.contiguous(memory_format=torch.channels_last), t, pick_tokens(self.data, chosen, self.rng))
        loss = (F.mse_loss(predicted.float(), noise, reduction="none").mean((1, 2, 3)) * self.weight[t]).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(EMA_DECAY, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.net.parameters()), 1 - decay)
        return float(loss.detach())

    def run(self, seconds: float) -> None:
        """Train until `seconds` have been spent in all, saving every three minutes."""
        start, last, losses = time.monotonic() - self.seconds, time.monotonic(), []
        while (now := time.monotonic()) - start < seconds:
            self.seconds = now - start
            losses.append(self.one(self.seconds / seconds))
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss became {losses[-1]} at step {self.step}")
            if self.step % 100 == 0:
                print(f"{self.seconds:6.0f}s step {self.step} loss {np.mean(losses):.4f}", flush=True)
                losses.clear()
            if now - last > 180:
                last = now
                self.save(self.work / "painter.pt")
        self.save(self.work / "painter.pt")
        print(f"done after {self.step} steps", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/tiny"))
    parser.add_argument("--minutes", type=float, default=49, help="in all, counting what a resumed run had")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.threads)
    trainer = Trainer(args.work, build(args.work, args.pictures), seed=2)
    if args.resume:
        trainer.resume(args.work / "painter.pt")
    print(f"{sum(p.numel() for p in trainer.net.parameters())} trained parameters, {len(trainer.data.z)} pictures", flush=True)
    trainer.run(args.minutes * 60)


if __name__ == "__main__":
    main()
