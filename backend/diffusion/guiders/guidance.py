"""Classifier-free guidance (Ho & Salimans 2022) and the places where it can be tapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.handle import ModelHandle


class Ask(Protocol):
    """(x, sigma [B], roles) -> one x0 a role; the bound denoiser. `taps` are added to the net's for this question only."""

    def __call__(
        self, x: Tensor, sigma: Tensor, roles: Sequence[str], *, taps: Mapping[str, Any] = ..., window: Any = ...
    ) -> list[Tensor]: ...


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
    ask: Ask | None = None
    """For taps that need another prediction at this step; None outside of sampling."""

    def guided(self) -> Tensor:
        """uncond + scale (cond - uncond); cond where there is no uncond."""
        return self.cond if self.uncond is None else self.uncond + (self.cond - self.uncond) * self.scale


@dataclass(frozen=True, eq=False)
class Guess:
    """A guider's answer: the guided x0, and the unconditional one (the same where there is none)."""

    denoised: Tensor
    uncond: Tensor


class Guider(Protocol):
    """Knows which conditioning it needs and how to combine the predictions.

    One that does not run all of `conds` at every step has `asks: tuple[str, ...]`: the roles it does.
    One that asks several models has `others: Mapping[str, ModelHandle]`: the roles that not `model` but another one answers.
    """

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
    """Ask for roles through the model's "predict" taps f(ask, x, sigma, roles, conds) -> [x0]; the last one added is outermost."""
    return tapped(model, conds, ask)(x, sigma, roles)


def tapped(model: ModelHandle, conds: Mapping[str, Conditioning], ask: Ask) -> Ask:
    """`ask` behind the model's "predict" taps. What is asked with options keeps them all the way down."""
    taps: Sequence[Any] = model.taps.get("predict", ())
    if not taps:
        return ask

    def asked(x: Tensor, sigma: Tensor, roles: Sequence[str], **options: Any) -> list[Tensor]:
        inner: Any = _with_options(ask, options)
        for tap in taps:
            inner = _around(tap, inner, conds)
        return list(inner(x, sigma, roles))

    return asked


def _with_options(ask: Ask, options: Mapping[str, Any]) -> Any:
    return lambda x, sigma, roles, **more: ask(x, sigma, roles, **{**options, **more})


def _around(tap: Any, inner: Any, conds: Mapping[str, Conditioning]) -> Any:
    return lambda x, sigma, roles, **options: tap(_with_options(inner, options) if options else inner, x, sigma, roles, conds)


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
