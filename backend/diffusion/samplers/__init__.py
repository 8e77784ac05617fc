"""Solvers by name, and what travels on a SAMPLER wire. A file here is a family of solvers, each a plain function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.base.errors import BadInput
from backend.diffusion.samplers import dpmpp, euler
from backend.diffusion.samplers.solver import Denoise, Guided, OnStep, Sampler, Step

__all__ = ["EXTRA", "SAMPLERS", "Denoise", "Guided", "OnStep", "Sampler", "Solver", "Step", "solver"]

SAMPLERS: dict[str, Sampler] = {
    "euler": euler.euler,
    "dpmpp_2m": dpmpp.dpmpp_2m,
}


@dataclass(frozen=True)
class Solver:
    """A solver with its options bound. `fresh_mask_noise`: what a mask keeps is noised with other noise than the sampling began with."""

    name: str
    run: Sampler
    options: Mapping[str, Any] = field(default_factory=dict)
    fresh_mask_noise: bool = False


EXTRA: dict[str, Sampler] = {}


def solver(name: str, **options: Any) -> Solver:
    """The solver `name` with `options`. Raises BadInput for an unknown name."""
    run = SAMPLERS.get(name) or EXTRA.get(name)
    if run is None:
        raise BadInput(f"There is no sampler named {name!r}.", hint=f"Choose one of {', '.join(SAMPLERS)}.", input="sampler_name")
    return Solver(name, run, options, fresh_mask_noise=name == "ddim")
