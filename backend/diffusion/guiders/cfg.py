"""Guidance towards a prompt and away from another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.guiders.guidance import Ask, Guess, Guidance, before, combine, tapped
from backend.diffusion.handle import ModelHandle


@dataclass(frozen=True, eq=False)
class CfgGuider:
    """x0 = negative + cfg (positive - negative). At cfg 1 the negative is not run, unless a tap has asked for it ("needs_uncond")."""

    model: ModelHandle
    positive: Conditioning
    negative: Conditioning
    cfg: float = 1.0

    @property
    def conds(self) -> Mapping[str, Conditioning]:
        return {"positive": self.positive, "negative": self.negative}

    @property
    def asks(self) -> tuple[str, ...]:
        """The roles that are run at each step."""
        needed = not math.isclose(self.cfg, 1.0) or bool(self.model.taps.get("needs_uncond"))
        return ("positive", "negative") if needed else ("positive",)

    def predict(self, ask: Ask, x: Tensor, sigma: Tensor, both: bool = False) -> Guess:
        roles = ("positive", "negative") if both else self.asks
        ask = tapped(self.model, self.conds, ask)
        outs = ask(x, sigma, roles)
        guidance = Guidance(x, sigma, outs[0], outs[1] if len(outs) > 1 else None, self.cfg, self.model, self.conds, ask=ask)
        outs = before(guidance, outs)
        guidance = replace(guidance, cond=outs[0], uncond=outs[1] if len(outs) > 1 else None)
        denoised = combine(guidance)
        return Guess(denoised, denoised if guidance.uncond is None else guidance.uncond)
