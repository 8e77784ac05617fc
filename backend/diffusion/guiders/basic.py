"""No guidance: one prompt, one prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.guiders.guidance import Ask, Guess, Guidance, before, combine, predictions, tapped
from backend.diffusion.handle import ModelHandle


@dataclass(frozen=True, eq=False)
class BasicGuider:
    """x0 = the model's answer to `positive`."""

    model: ModelHandle
    positive: Conditioning

    @property
    def conds(self) -> Mapping[str, Conditioning]:
        return {"positive": self.positive}

    def predict(self, ask: Ask, x: Tensor, sigma: Tensor, both: bool = False) -> Guess:
        outs = predictions(self.model, self.conds, ask, x, sigma, ("positive",))
        again = tapped(self.model, self.conds, ask)
        outs = before(Guidance(x, sigma, outs[0], None, 1.0, self.model, self.conds, ask=again), outs)
        denoised = combine(Guidance(x, sigma, outs[0], None, 1.0, self.model, self.conds, ask=again))
        return Guess(denoised, outs[0])
