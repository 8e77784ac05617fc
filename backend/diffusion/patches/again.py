"""Guidance by a second, spoilt prediction: perturbed attention, skipped layers, blurred attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.diffusion.guiders import Guidance
from backend.diffusion.handle import ModelHandle
from backend.nn.attention import attention

Places = Sequence[tuple[str, int]]
"""Numbered blocks of a net: ("middle", 0), ("double_block", 7) ..."""


def value_only(q: Tensor, k: Tensor, v: Tensor, facts: Mapping[str, Any]) -> Tensor:
    """Self-attention in which every token sees only itself: an identity map of attention.

    Where a prompt's tokens come before the picture's in the same attention (facts["prompt_tokens"]), those are seen as ever.
    """
    length = facts.get("prompt_tokens")
    if length is None:
        return v
    seen = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool, device=q.device)
    seen[length:, length:] = torch.eye(q.shape[1] - length, dtype=torch.bool, device=q.device)
    return attention(q, k, v, int(facts["n_heads"]), seen)


def perturbed(model: ModelHandle, scale: float, places: Places = (("middle", 0),), start: float = 0.0, end: float = 1.0) -> ModelHandle:
    """Perturbed attention guidance (Ahn et al. 2024, arXiv:2403.17377): away from a prediction whose self-attention is the identity."""
    taps = {"attn1_replace": tuple((place, value_only) for place in places)}
    first, last = model.noise.percent_to_sigma(start), model.noise.percent_to_sigma(end)

    def tap(guidance: Guidance) -> Tensor:
        assert guidance.denoised is not None
        if scale == 0 or guidance.ask is None or not last <= float(guidance.sigma[0]) <= first:
            return guidance.denoised
        (spoilt,) = guidance.ask(guidance.x, guidance.sigma, ("positive",), taps=taps)
        return guidance.denoised + (guidance.cond - spoilt) * scale

    return model.with_tap("post_cfg", tap)


def skipping(places: Places) -> dict[str, tuple[Any, ...]]:
    """Net taps that leave out these blocks."""
    wanted = set(places)

    def tap(call: Any, h: Any, facts: Mapping[str, Any]) -> Any:
        return h if tuple(facts["block"]) in wanted else call(h)

    return {"block_around": (tap,)}


def skip_layers(model: ModelHandle, places: Places, scale: float, start: float, end: float, rescale: float = 0.0) -> ModelHandle:
    """Skip layer guidance (after Hyung et al. 2024, arXiv:2411.18664): away from a prediction without some of the net's blocks.

    Between the two shares of sampling, `scale` (cond - skipped) is added; `rescale` then gives back the conditional prediction's deviation
    by that share.
    """
    taps, first, last = skipping(places), model.noise.percent_to_sigma(start), model.noise.percent_to_sigma(end)

    def tap(guidance: Guidance) -> Tensor:
        assert guidance.denoised is not None
        if not (scale > 0 and last <= float(guidance.sigma[0]) <= first) or guidance.ask is None:
            return guidance.denoised
        (skipped,) = guidance.ask(guidance.x, guidance.sigma, ("positive",), taps=taps)
        guided = guidance.denoised + (guidance.cond - skipped) * scale
        if rescale:
            guided = guided * (rescale * guidance.cond.std() / guided.std() + 1 - rescale)
        return guided

    return model.with_tap("post_cfg", tap)


def skip_layers_of_uncond(model: ModelHandle, places: Places, start: float, end: float) -> ModelHandle:
    """Between the two shares of sampling, the unconditional prediction is made without some of the net's blocks."""
    taps, first, last = skipping(places), model.noise.percent_to_sigma(start), model.noise.percent_to_sigma(end)

    def tap(ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], conds: Any) -> list[Tensor]:
        if "negative" not in roles or not last <= float(sigma[0]) <= first:
            return list(ask(x, sigma, roles))
        others = [role for role in roles if role != "negative"]
        found = dict(zip(others, ask(x, sigma, others) if others else [], strict=True))
        (found["negative"],) = ask(x, sigma, ("negative",), taps=taps)
        return [found[role] for role in roles]

    return model.with_tap("predict", tap)


class SelfAttention:
    """Self-attention guidance (Hong et al. 2023, arXiv:2210.00939): away from a prediction whose input is blurred where the middle of the
    net attends most.

    Attention of the unconditional rows is recorded on the way; `scale` weighs the correction, `blur` is the deviation of the 9 x 9 blur.
    """

    PLACE = ("middle", 0)

    def __init__(self, scale: float, blur: float) -> None:
        self.scale, self.blur = scale, blur
        self.map: Tensor | None = None

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        self.map = None

    def end(self) -> None:
        self.map = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """Attention that keeps its map for the unconditional rows: [rows, tokens], how much each token is looked at, mean over heads."""
        heads, roles = int(facts["n_heads"]), facts["cond_or_uncond"]
        qh, kh, vh = (t.reshape(t.shape[0], t.shape[1], heads, -1).transpose(1, 2) for t in (q, k, v))
        scores = (qh @ kh.transpose(-1, -2) / math.sqrt(qh.shape[-1])).float().softmax(-1)
        if 1 in roles:
            self.map = scores.chunk(len(roles))[roles.index(1)].mean(1).sum(1)
        return (scores.to(v.dtype) @ vh).transpose(1, 2).reshape(q.shape)

    def __call__(self, guidance: Guidance) -> Tensor:
        assert guidance.denoised is not None
        seen, self.map = self.map, None
        if self.scale == 0 or guidance.uncond is None or guidance.ask is None or seen is None or min(guidance.x.shape[-2:]) < 5:
            return guidance.denoised
        degraded = blurred_where(guidance.uncond, seen, self.blur)
        noisy = degraded + guidance.x - guidance.uncond
        (spoilt,) = guidance.ask(noisy, guidance.sigma, ("negative",))
        self.map = None
        return guidance.denoised + (degraded - spoilt) * self.scale


def blurred_where(x0: Tensor, seen: Tensor, deviation: float, threshold: float = 1.0) -> Tensor:
    """x0 [B, C, H, W] blurred where the attention map [B, tokens] is above `threshold`."""
    height, width = x0.shape[-2:]
    while height * width > seen.shape[-1]:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != seen.shape[-1] or seen.shape[0] != x0.shape[0]:
        return x0
    mask = (seen.reshape(-1, 1, height, width) > threshold).to(x0)
    mask = F.interpolate(mask, x0.shape[-2:])
    return gaussian(x0, 9, deviation) * mask + x0 * (1 - mask)


def gaussian(x: Tensor, size: int, deviation: float) -> Tensor:
    """x [B, C, H, W] blurred by a size x size Gaussian, borders reflected (repeated on maps too small for that)."""
    if deviation <= 0:
        return x
    at = torch.arange(size, device=x.device, dtype=x.dtype) - (size - 1) / 2
    line = torch.exp(-0.5 * (at / deviation) ** 2)
    line = line / line.sum()
    half = size // 2
    mode = "reflect" if min(x.shape[-2:]) > half else "replicate"
    x = F.pad(x, (half,) * 4, mode=mode)
    channels = x.shape[1]
    x = F.conv2d(x, line.reshape(1, 1, 1, -1).expand(channels, 1, 1, size), groups=channels)
    return F.conv2d(x, line.reshape(1, 1, -1, 1).expand(channels, 1, size, 1), groups=channels)


def self_attention(model: ModelHandle, scale: float, blur: float) -> ModelHandle:
    """Self-attention guidance."""
    tap = SelfAttention(scale, blur)
    model = model.with_tap("attn1_replace", (SelfAttention.PLACE, tap.attend)).with_tap("post_cfg", tap)
    return model.with_tap("needs_uncond", True)
