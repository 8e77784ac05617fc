"""Guidance that works on finished predictions: formulas over the conditional and unconditional x0.

Every function here takes `Guidance` and gives x0 [B, C, ...] ("cfg" and "post_cfg" taps), or [cond, uncond] ("pre_cfg" taps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.diffusion.guiders import Guidance
from backend.diffusion.handle import ModelHandle

PreCfg = Callable[[Guidance, Sequence[Tensor]], list[Tensor]]


def on_both(model: ModelHandle, change: Callable[[Guidance, Tensor, Tensor], tuple[Tensor, Tensor]]) -> ModelHandle:
    """`change(guidance, cond, uncond)` before they are combined; left alone at a step that has no unconditional prediction."""

    def tap(guidance: Guidance, outs: Sequence[Tensor]) -> list[Tensor]:
        if len(outs) != 2:
            return list(outs)
        return list(change(guidance, outs[0], outs[1]))

    return model.with_tap("pre_cfg", tap)


def flat(x: Tensor) -> Tensor:
    """[B, ...] -> [B, 1, n] float32."""
    return x.float().reshape(x.shape[0], 1, -1)


def length(x: Tensor) -> Tensor:
    """The Euclidean length of each image, [B, 1, ...]."""
    found: Tensor = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)
    return found


def per_image(x: Tensor, like: Tensor) -> Tensor:
    """[B] or [B, 1, ...] shaped to multiply `like` [B, ...]."""
    return x.reshape(-1, *[1] * (like.ndim - 1)).to(like)


# Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416)


class Projected:
    """Guidance split along the conditional prediction: the parallel part, which over-saturates, is weighed by `eta`.

    `norm_threshold` bounds the length of the guidance (0: no bound); `momentum` adds that share of the running sum before it.
    """

    def __init__(self, eta: float, norm_threshold: float, momentum: float) -> None:
        self.eta, self.norm_threshold, self.momentum = eta, norm_threshold, momentum
        self.running: Tensor | None = None

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        self.running = None

    def end(self) -> None:
        self.running = None

    def __call__(self, guidance: Guidance, outs: Sequence[Tensor]) -> list[Tensor]:
        if len(outs) != 2:
            return list(outs)
        cond, uncond = outs
        push = cond - uncond
        if self.momentum:
            push = push if self.running is None else push + self.momentum * self.running
            self.running = push
        axes = tuple(range(1, push.ndim))
        if self.norm_threshold > 0:
            push = push * (self.norm_threshold / length(push)).clamp(max=1.0)
        along = F.normalize(cond.double(), dim=axes)  # type: ignore[arg-type]
        parallel = ((push.double() * along).sum(axes, keepdim=True) * along).to(push)
        push = push - parallel + self.eta * parallel
        # written as another conditional prediction, so that uncond + scale (cond' - uncond) = cond + scale push
        return [uncond + push + (cond - uncond) / guidance.scale, uncond]


def projected(model: ModelHandle, eta: float, norm_threshold: float, momentum: float) -> ModelHandle:
    """Adaptive projected guidance."""
    return model.with_tap("pre_cfg", Projected(eta, norm_threshold, momentum))


# CFG-Zero* (Fan et al. 2025, arXiv:2503.18886)


def zero_star(guidance: Guidance) -> Tensor:
    """uncond replaced by alpha uncond, alpha the projection of the conditional direction x - x0 on the unconditional one."""
    assert guidance.denoised is not None
    if guidance.uncond is None:
        return guidance.denoised
    cond, uncond = flat(guidance.x - guidance.cond), flat(guidance.x - guidance.uncond)
    alpha = per_image((cond * uncond).sum(-1) / ((uncond * uncond).sum(-1) + 1e-8), guidance.uncond)
    return guidance.denoised + guidance.uncond * (alpha - 1) * (1 - guidance.scale)


def normed(guidance: Guidance, strength: float) -> Tensor:
    """The guided prediction held to the length (over channels) of the conditional one where it is longer."""
    assert guidance.denoised is not None
    ratio = guidance.cond.norm(dim=1, keepdim=True) / (guidance.denoised.norm(dim=1, keepdim=True) + 1e-8)
    held: Tensor = guidance.denoised * ratio.clamp(0.0, 1.0) * strength
    return held


# Tangential damping (Kwon et al. 2025, arXiv:2503.18137)


def damped(guidance: Guidance, cond: Tensor, uncond: Tensor) -> tuple[Tensor, Tensor]:
    """The unconditional direction kept only along the first singular vector of both directions."""
    to_cond, to_uncond = flat(guidance.x - cond), flat(guidance.x - uncond)
    _, _, right = torch.linalg.svd(torch.cat([to_uncond, to_cond], 1), full_matrices=False)
    main = right[:, :1]
    kept = (to_uncond * main).sum(-1, keepdim=True) * main
    return cond, guidance.x - kept.reshape(uncond.shape).to(uncond)


def mahiro(guidance: Guidance) -> Tensor:
    """Between plain guidance and the scaled conditional prediction, by how much the (root-compressed) two directions agree."""
    assert guidance.denoised is not None
    if guidance.uncond is None:
        return guidance.denoised
    leap, rest = guidance.cond * guidance.scale, guidance.uncond * guidance.scale
    merged = (leap + guidance.denoised) / 2
    agreement = F.cosine_similarity(_rooted(rest), _rooted(merged)).mean()
    weight = 2 * (agreement + 1)
    mixed: Tensor = (weight * guidance.denoised + (4 - weight) * leap) / 4
    return mixed


def _rooted(x: Tensor) -> Tensor:
    return x.abs().sqrt() * x.sign()


# FreSca (Huang et al. 2025, arXiv:2504.02154)


def fourier_scaled(x: Tensor, low: float, high: float, cutoff: int) -> Tensor:
    """x [..., H, W] with frequencies closer than `cutoff` to zero (in a square) scaled by `low`, all others by `high`."""
    height, width = x.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fftn(x.float(), dim=(-2, -1)), dim=(-2, -1))
    mask = torch.full((height, width), float(high), device=x.device)
    row, column = height // 2, width // 2
    mask[max(0, row - cutoff) : row + cutoff, max(0, column - cutoff) : column + cutoff] = low
    scaled: Tensor = torch.fft.ifftn(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1)), dim=(-2, -1)).real.to(x)
    return scaled


def fresca(model: ModelHandle, low: float, high: float, cutoff: int) -> ModelHandle:
    """Guidance with its low and high frequencies scaled on their own."""
    return on_both(model, lambda _, cond, uncond: (uncond + fourier_scaled(cond - uncond, low, high, cutoff), uncond))


def renormed(guidance: Guidance, truncate: float, renorm: float) -> Tensor:
    """Guidance only below the sigma `truncate`, and no longer than `renorm` times the conditional prediction (0: no limit)."""
    if guidance.uncond is None or float(guidance.sigma[0]) >= truncate:
        return guidance.cond
    guided = guidance.guided()
    if renorm <= 0:
        return guided
    most, now = length(guidance.cond) * renorm, length(guided)
    short: Tensor = guided * (most / now).clamp(max=1.0)
    return short


def noise_scaled(guidance: Guidance, factor: float) -> Tensor:
    """The predicted noise divided by `factor`, against exposure bias (Ning et al. 2023, arXiv:2308.15321)."""
    assert guidance.denoised is not None
    return guidance.x - (guidance.x - guidance.denoised) / (factor or 1e-9)


def over_frames(model: ModelHandle, least: float, shape: str) -> ModelHandle:
    """A guidance scale for each frame (batch row): rising from `least` ("linear"), or rising and falling again ("triangle")."""

    def tap(guidance: Guidance) -> Tensor:
        if guidance.uncond is None:
            return guidance.cond
        along = torch.linspace(0, 1, guidance.cond.shape[0])
        if shape == "triangle":
            along = 2 * (along - (along + 0.5).floor()).abs()
        scale = per_image(least + along * (guidance.scale - least), guidance.cond)
        return guidance.uncond + scale * (guidance.cond - guidance.uncond)

    return model.with_tap("cfg", tap)


def scheduled(model: ModelHandle, at: Callable[[float], float]) -> ModelHandle:
    """The guidance scale as a function of sigma and nothing else; 1 turns guidance off at that step."""

    def tap(guidance: Guidance) -> Tensor:
        if guidance.uncond is None:
            return guidance.cond
        return guidance.uncond + (guidance.cond - guidance.uncond) * at(float(guidance.sigma[0]))

    def only_positive(ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], conds: Any) -> list[Tensor]:
        if list(roles) != ["positive", "negative"] or at(float(sigma[0])) != 1:
            return list(ask(x, sigma, roles))
        return list(ask(x, sigma, ["positive"])) * 2

    return model.with_tap("cfg", tap).with_tap("predict", only_positive).with_tap("needs_uncond", True)


def after(model: ModelHandle, change: Callable[..., Tensor], *, uncond: bool = False, **options: float) -> ModelHandle:
    """`change(guidance, **options)` on the guided prediction; `uncond`: it needs the unconditional one at every scale."""
    model = model.with_tap("post_cfg", partial(change, **options))
    return model.with_tap("needs_uncond", True) if uncond else model


def ramp(model: ModelHandle, first: float, last: float, curve: str, start: float, end: float, outside: bool) -> Callable[[float], float]:
    """Sigma -> guidance scale: from `first` to `last` between two shares of sampling ("linear", "cosine"; "constant": `first`).

    Outside of them 1, or (`outside`) the nearest end of the curve.
    """

    def at(sigma: float) -> float:
        share = _share_done(model, sigma)
        if not start <= share <= end and not outside:
            return 1.0
        along = min(1.0, max(0.0, (share - start) / (end - start) if end > start else 1.0))
        if curve == "constant":
            return first
        if curve == "cosine":
            along = (1 - math.cos(math.pi * along)) / 2
        return first + (last - first) * along

    return at


def _share_done(model: ModelHandle, sigma: float) -> float:
    """How much of sampling (0..1) is done at sigma: the inverse of percent_to_sigma, which falls, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if model.noise.percent_to_sigma(middle) > sigma:
            low = middle
        else:
            high = middle
    return (low + high) / 2
