"""Keeping things from one step of a sampling to the next."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import Tensor

from backend.diffusion.handle import ModelHandle


class Steps:
    """Counts steps by their sigma, and the calls within one. Something made for one sampling is forgotten at its end."""

    def __init__(self) -> None:
        self.index = -1
        self.sigma = float("nan")
        self.calls: dict[Hashable, int] = {}
        self.kept: dict[Hashable, Any] = {}
        self.first = self.last = 0.0

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        self.index, self.sigma = -1, float("nan")
        self.calls, self.kept = {}, {}

    def end(self) -> None:
        self.calls, self.kept = {}, {}

    def within(self, model: ModelHandle, start: float, end: float) -> None:
        """Set the range of shares of sampling that `inside` tells."""
        self.first, self.last = model.noise.percent_to_sigma(start), model.noise.percent_to_sigma(end)

    def inside(self) -> bool:
        return self.last <= self.sigma <= self.first

    def at(self, sigma: float, key: Hashable) -> Hashable:
        """Note a call at sigma. Gives `key` with its number among the equal calls of this step: the name of "the same call" later."""
        if sigma != self.sigma:
            self.sigma, self.index, self.calls = sigma, self.index + 1, {}
        self.calls[key] = self.calls.get(key, -1) + 1
        return key, self.calls[key]


class Kept:
    """A method as a tap that is told when a sampling begins and ends."""

    def __init__(self, keeper: Any, call: Any) -> None:
        self.begin, self.end, self.call = keeper.begin, keeper.end, call

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)
