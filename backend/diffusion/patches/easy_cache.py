"""Skipping predictions that can be told from the last one (EasyCache: Zhou et al. 2025, arXiv:2507.02860)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import broadcast
from backend.diffusion.patches.steps import Steps

Log = Callable[[str], None] | None


@dataclass
class Seen:
    """The last computed answer to one question, and how much the answer has moved since by estimate."""

    x: Tensor
    answer: Tensor
    rate: float | None = None
    """Change of the answer per change of the input, measured between the last two computed answers."""
    drift: float = 0.0

    def moved(self, x: Tensor) -> float:
        """Add the estimated relative change of the answer from the last input to x; the sum since the last computed answer."""
        assert self.rate is not None
        self.drift += self.rate * _size(x - self.x) / max(_size(self.answer), 1e-12)
        self.x = x
        return self.drift

    @classmethod
    def after(cls, before: Seen | None, x: Tensor, answer: Tensor, asked: Tensor | None) -> Seen:
        """A new computed answer; `asked` is the input of the computed answer before it."""
        rate = None
        if before is not None and asked is not None:
            rate = _size(answer - before.answer) / max(_size(x - asked), 1e-12)
        return cls(x, answer, rate)


def _size(x: Tensor) -> float:
    return float(x.float().abs().mean())


class Cache(Steps):
    """Answers kept from step to step. `hold(answer, x)` is what stays the same, `release` its inverse at another x."""

    def __init__(self, model: ModelHandle, threshold: float, start: float, end: float, log: Log) -> None:
        super().__init__()
        self.threshold, self.log = threshold, log
        self.skipped = self.asked = 0
        self.within(model, start, end)

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        super().begin(model, sigmas)
        self.skipped = self.asked = 0

    def end(self) -> None:
        if self.log is not None and self.asked:
            self.log(f"{self.skipped} of {self.asked} predictions were taken from the cache.")
        super().end()

    def answer(self, key: Any, x: Tensor, compute: Callable[[], Tensor], release: Callable[[Tensor, Tensor], Tensor], hold: Any) -> Tensor:
        """The answer to `key` at x: computed, or what was held of the last one."""
        self.asked += 1
        seen, asked, held = self.kept.get(key, (None, None, None))
        known = seen is not None and seen.x.shape == x.shape and seen.rate is not None
        if known and self.inside() and seen.moved(x) < self.threshold:
            self.skipped += 1
            return release(held, x)
        found = compute()
        if found.shape == x.shape:
            self.kept[key] = (Seen.after(seen if seen is None or seen.x.shape == x.shape else None, x, found, asked), x, hold(found, x))
        return found


class EachAnswer(Cache):
    """The net's own input and output: v(x) is taken as x + (v - x) of the last computed step."""

    def __call__(self, inner: Any, x: Tensor, t: Tensor, inputs: dict[str, Any]) -> Tensor:
        facts = inputs["facts"]
        key = self.at(float(facts["sigmas"][0]), tuple(facts["uuids"]))
        return self.answer(key, x, lambda: inner(x, t, inputs), lambda held, now: now + held, lambda found, now: found - now)


class WholeSteps(Cache):
    """All predictions of a step together: the direction (x - x0) / sigma is held."""

    def __call__(self, ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], conds: Any) -> list[Tensor]:
        key = self.at(float(sigma[0]), tuple(roles))
        s = broadcast(sigma, x).to(x)
        many = x.repeat(len(roles), *[1] * (x.ndim - 1))
        wide = s.repeat(len(roles), *[1] * (x.ndim - 1))

        found = self.answer(
            key, many, lambda: torch.cat(ask(x, sigma, roles)),
            lambda held, now: now - wide * held, lambda x0, now: (now - x0) / wide.clamp(min=1e-6),
        )  # fmt: skip
        return list(found.chunk(len(roles)))


def each_answer(model: ModelHandle, threshold: float, start: float, end: float, log: Log = None) -> ModelHandle:
    """Skip runs of the net, each prompt by its own drift."""
    return model.with_tap("forward", EachAnswer(model, threshold, start, end, log))


def whole_steps(model: ModelHandle, threshold: float, start: float, end: float, log: Log = None) -> ModelHandle:
    """Skip whole steps."""
    return model.with_tap("predict", WholeSteps(model, threshold, start, end, log))
