"""Safe latent diffusion (Schramowski et al. 2022, arXiv:2211.05105): guidance away from a concept, only where the picture leans to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.guiders import Guidance
from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import broadcast


@dataclass(frozen=True)
class Strength:
    """The paper's settings; these are its "medium"."""

    scale: float = 1000.0
    threshold: float = 0.01
    warmup: int = 10
    momentum: float = 0.3
    beta: float = 0.4


class Safe:
    """A "cfg" tap. All differences are of predicted noise, (x - x0) / sigma, as the paper's are."""

    def __init__(self, strength: Strength) -> None:
        self.strength = strength
        self.step, self.running = -1, None

    step: int
    running: Tensor | None

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        self.step, self.running = -1, None

    def end(self) -> None:
        self.running = None

    def __call__(self, guidance: Guidance) -> Tensor:
        if guidance.uncond is None or guidance.ask is None:
            return guidance.cond
        self.step += 1
        s = self.strength
        sigma = broadcast(guidance.sigma, guidance.x).to(guidance.x)
        (concept,) = guidance.ask(guidance.x, guidance.sigma, ("safety",))
        towards = (concept - guidance.cond) / sigma  # eps(prompt) - eps(concept)
        weight = torch.where(towards >= s.threshold, 0.0, (towards.abs() * s.scale).clamp(max=1.0))
        away = (guidance.uncond - concept) / sigma * weight
        before = torch.zeros_like(away) if self.running is None else self.running
        away = away + s.momentum * before
        self.running = s.beta * before + (1 - s.beta) * away
        push = (guidance.uncond - guidance.cond) / sigma
        if self.step >= s.warmup:
            push = push - away
        return guidance.uncond - sigma * guidance.scale * push


def safe(model: ModelHandle, concept: Conditioning, strength: Strength) -> ModelHandle:
    """Keep away from what `concept` describes."""
    taps: list[tuple[str, Any]] = [("conds", ("safety", concept)), ("cfg", Safe(strength)), ("needs_uncond", True)]
    for name, tap in taps:
        model = model.with_tap(name, tap)
    return model
