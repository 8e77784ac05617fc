"""Guidance by two models: one follows the prompt, another says what is guided away from (Karras et al. 2024; Ideogram 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.base.errors import BadInput
from backend.diffusion.guiders.cfg import CfgGuider
from backend.diffusion.handle import ModelHandle


@dataclass(frozen=True, eq=False)
class TwoModelGuider(CfgGuider):
    """x0 = other(negative) + cfg (model(positive) - other(negative)). Taps are the first model's. Raises BadInput for models whose
    latents or noise differ in kind."""

    other: ModelHandle | None = None

    def __post_init__(self) -> None:
        other = self.other
        if other is None:
            return
        ours, theirs = self.model.family, other.family
        if ours.latent != theirs.latent or self.model.noise.prediction.flow != other.noise.prediction.flow:
            raise BadInput(
                f"The model is {ours.name}, the one that is guided away from {theirs.name}; they work on different latents or noise.",
                hint="Use two models of one kind.",
                input="model_negative",
            )

    @property
    def others(self) -> Mapping[str, ModelHandle]:
        return {} if self.other is None else {"negative": self.other}
