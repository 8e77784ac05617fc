"""Guidance by two conditions, as image editing models need (Brooks et al. 2023, eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.guiders.guidance import Ask, Guess, Guidance, before, combine, tapped
from backend.diffusion.handle import ModelHandle


@dataclass(frozen=True, eq=False)
class DualCfgGuider:
    """`first` over `second` by `cfg_first`, `second` over `negative` by `cfg_second`.

    regular: negative + cfg_second (second - negative) + cfg_first (first - second).
    nested:  negative + cfg_second (second + cfg_first (first - second) - negative).
    Only conditions with a weight are run.
    """

    model: ModelHandle
    first: Conditioning
    second: Conditioning
    negative: Conditioning
    cfg_first: float = 1.0
    cfg_second: float = 1.0
    nested: bool = False

    @property
    def conds(self) -> Mapping[str, Conditioning]:
        return {"positive": self.first, "middle": self.second, "negative": self.negative}

    def predict(self, ask: Ask, x: Tensor, sigma: Tensor, both: bool = False) -> Guess:
        every = both or bool(self.model.taps.get("needs_uncond")) or self.nested
        roles = ["positive"]
        if every or not math.isclose(self.cfg_second, 1.0):
            roles = ["negative", "middle", "positive"]
        elif not math.isclose(self.cfg_first, 1.0):
            roles = ["middle", "positive"]
        ask = tapped(self.model, self.conds, ask)
        outs = ask(x, sigma, roles)
        seen = Guidance(x, sigma, outs[-1], outs[0] if len(outs) == 3 else None, self.cfg_second, self.model, self.conds, ask=ask)
        outs = before(seen, outs)
        found = dict(zip(roles, outs, strict=True))
        first, second, negative = found["positive"], found.get("middle", found["positive"]), found.get("negative")
        if self.nested:
            assert negative is not None
            inner = combine(replace(seen, cond=first, uncond=second, scale=self.cfg_first))
            return Guess(negative + (inner - negative) * self.cfg_second, negative)
        outer = combine(replace(seen, cond=second, uncond=negative))
        return Guess(outer + (first - second) * self.cfg_first if "middle" in found else outer, second if negative is None else negative)
