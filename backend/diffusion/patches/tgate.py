"""T-GATE (Zhang et al. 2024, arXiv:2404.02747): attention to the text converges early; from then on its answer is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.steps import Kept


class TGate:
    """Below `gate` (a sigma) cross-attention gives the mean of what it gave for all prompts at the last step above, and only the positive
    prompt is run."""

    def __init__(self, gate: float) -> None:
        self.gate = self.keeps_from = gate
        self.kept: dict[Any, Tensor] = {}

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        self.kept = {}
        above = [float(s) for s in sigmas if float(s) > self.gate]
        self.keeps_from = min(above, default=self.gate)

    def end(self) -> None:
        self.kept = {}

    def attend(self, call: Any, x: Tensor, context: Tensor, facts: Mapping[str, Any]) -> Tensor:
        place = (*facts["block"], facts["block_index"], tuple(x.shape[1:]))
        sigma, rows = float(facts["sigmas"][0]), len(facts["cond_or_uncond"])
        if sigma <= self.gate and place in self.kept:
            return self.kept[place].repeat(rows, 1, 1)
        out: Tensor = call(x, context)
        if sigma <= self.keeps_from * 1.0001:
            self.kept[place] = torch.stack(out.chunk(rows)).mean(0)
        return out

    def predict(self, ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], conds: Any) -> list[Tensor]:
        if float(sigma[0]) > self.gate or not self.kept or "positive" not in roles:
            return list(ask(x, sigma, roles))
        return list(ask(x, sigma, ["positive"])) * len(roles)


def tgate(model: ModelHandle, start: float) -> ModelHandle:
    """Keep cross-attention once the share `start` of sampling is done."""
    gate = TGate(model.noise.percent_to_sigma(start))
    return model.with_tap("attn2_around", Kept(gate, gate.attend)).with_tap("predict", gate.predict)
