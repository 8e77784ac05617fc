"""Negative prompts that only push across the positive one (Armandpour et al. 2023, Perp-Neg)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.guiders.guidance import Ask, Guess, Guidance, tapped
from backend.diffusion.handle import ModelHandle


@dataclass(frozen=True, eq=False)
class PerpNegGuider:
    """x0 = empty + cfg (pos - neg_scale (neg - its part along pos)), pos and neg measured from the prediction for `empty`."""

    model: ModelHandle
    positive: Conditioning
    negative: Conditioning
    empty: Conditioning
    cfg: float = 1.0
    neg_scale: float = 1.0

    @property
    def conds(self) -> Mapping[str, Conditioning]:
        return {"positive": self.positive, "negative": self.negative, "empty": self.empty}

    def predict(self, ask: Ask, x: Tensor, sigma: Tensor, both: bool = False) -> Guess:
        roles = ("positive", "negative", "empty")
        ask = tapped(self.model, self.conds, ask)
        positive, negative, empty = ask(x, sigma, roles)
        denoised = perp_neg(positive, negative, empty, self.neg_scale, self.cfg)
        for tap in self.model.taps.get("post_cfg", ()):
            denoised = tap(Guidance(x, sigma, positive, negative, self.cfg, self.model, self.conds, denoised, ask))
        return Guess(denoised, negative)


def perp_neg(positive: Tensor, negative: Tensor, empty: Tensor, neg_scale: float, cfg: float) -> Tensor:
    """The combination above. The projection is taken over the whole batch tensor, as the ecosystem does."""
    pos, neg = positive - empty, negative - empty
    across = neg - pos * ((neg * pos).sum() / pos.norm() ** 2)
    guided: Tensor = empty + (pos - across * neg_scale) * cfg
    return guided
