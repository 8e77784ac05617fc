"""Classifier-free guidance (Ho & Salimans 2022) and the places where it can be tapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.handle import ModelHandle

Ask = Callable[[Tensor, Tensor, Sequence[str]], list[Tensor]]
"""(x, sigma [B], roles) -> one x0 a role; the bound denoiser."""


@dataclass(frozen=True, eq=False)
class Guidance:
    """What taps are shown of one guided prediction. All latents are x0 estimates [B, C, ...].

    `uncond` is None where the unconditional run was not needed. `denoised` is the answer so far (for "post_cfg" taps).
    """

    x: Tensor
    sigma: Tensor
    cond: Tensor
    uncond: Tensor | None
    scale: float
    model: ModelHandle
    conds: Mapping[str, Conditioning] = field(default_factory=dict)
    denoised: Tensor | None = None

    def guided(self) -> Tensor:
        """uncond + scale (cond - uncond); cond where there is no uncond."""
        return self.cond if self.uncond is None else self.uncond + (self.cond - self.uncond) * self.scale


@dataclass(frozen=True, eq=False)
class Guess:
    """A guider's answer: the guided x0, and the unconditional one (the same where there is none)."""

    denoised: Tensor
    uncond: Tensor


class Guider(Protocol):
    """Knows which conditioning it needs and how to combine the predictions."""

    @property
    def model(self) -> ModelHandle: ...

    @property
    def conds(self) -> Mapping[str, Conditioning]: ...

    def predict(self, ask: Ask, x: Tensor, sigma: Tensor, both: bool = False) -> Guess:
        """`both`: the unconditional answer is wanted even where guidance does not need it."""
        ...


def predictions(
    model: ModelHandle, conds: Mapping[str, Conditioning], ask: Ask, x: Tensor, sigma: Tensor, roles: Sequence[str]
) -> list[Tensor]:
    """Ask for roles, unless a "predict" tap f(ask, x, sigma, roles, conds) -> [x0] does it another way (the last one added decides)."""
    taps = model.taps.get("predict", ())
    return list(taps[-1](ask, x, sigma, roles, conds)) if taps else ask(x, sigma, roles)


def combine(guidance: Guidance) -> Tensor:
    """Guide, through the model's taps: "cfg" f(guidance) -> x0 replaces the formula (the last one added decides), then each
    "post_cfg" f(guidance with denoised) -> x0 in order."""
    taps = guidance.model.taps
    instead = taps.get("cfg", ())
    denoised: Tensor = instead[-1](guidance) if instead else guidance.guided()
    for tap in taps.get("post_cfg", ()):
        denoised = tap(replace(guidance, denoised=denoised))
    return denoised


def before(guidance: Guidance, outs: list[Tensor]) -> list[Tensor]:
    """Each "pre_cfg" tap f(guidance, [cond, uncond]) -> [cond, uncond] in order."""
    taps: Sequence[Any] = guidance.model.taps.get("pre_cfg", ())
    for tap in taps:
        outs = list(tap(guidance, outs))
    return outs
