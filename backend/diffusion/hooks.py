"""Weight patches that belong to one conditioning and change while sampling: HOOKS and HOOK_KEYFRAMES wires.

A hook makes patches for a model at a strength; keyframes say which strength holds from which share of sampling on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.diffusion.handle import ModelHandle
from backend.memory.pool import Pool
from backend.weights.patch import Patch

Apply = Callable[[Any, float], Any]
"""(handle, strength) -> the handle with the hook's patches after its own."""


@dataclass(frozen=True)
class Keyframe:
    """From the share `start` of sampling on, hooks are multiplied by `strength`."""

    strength: float = 1.0
    start: float = 0.0


Keyframes = tuple[Keyframe, ...]
"""In the order of their starts. The first one holds from the beginning, wherever it starts."""


def with_keyframe(frames: Keyframes, *added: Keyframe) -> Keyframes:
    """In order; a later one with the same start takes the place of an earlier one."""
    by_start = {frame.start: frame for frame in (*frames, *added)}
    return tuple(by_start[start] for start in sorted(by_start))


@dataclass(frozen=True, eq=False)
class Hook:
    """One source of patches. `on_model` and `on_clip` are None where it has none."""

    on_model: Apply | None
    on_clip: Apply | None
    strength_model: float = 1.0
    strength_clip: float = 1.0
    keyframes: Keyframes = ()

    def multiplier(self, sigma: float, percent_to_sigma: Callable[[float], float]) -> float:
        """The keyframe's strength at sigma."""
        if not self.keyframes:
            return 1.0
        now = self.keyframes[0]
        for frame in self.keyframes[1:]:
            if sigma > percent_to_sigma(frame.start):
                break
            now = frame
        return now.strength


@dataclass(frozen=True, eq=False)
class Hooks:
    """A group of hooks, as a conditioning carries it."""

    hooks: tuple[Hook, ...] = ()

    def __len__(self) -> int:
        return len(self.hooks)

    def with_keyframes(self, frames: Keyframes) -> Hooks:
        return Hooks(tuple(replace(hook, keyframes=frames) for hook in self.hooks))

    def patched_model(self, model: ModelHandle, sigma: float) -> ModelHandle:
        """The model as it is at sigma for a conditioning with these hooks."""
        for hook in self.hooks:
            strength = hook.strength_model * hook.multiplier(sigma, model.noise.percent_to_sigma)
            if hook.on_model is not None and strength != 0:
                model = hook.on_model(model, strength)
        return model

    def strengths(self, model: ModelHandle, sigma: float) -> tuple[float, ...]:
        return tuple(hook.strength_model * hook.multiplier(sigma, model.noise.percent_to_sigma) for hook in self.hooks)

    def patched_clip(self, clip: Any, multipliers: Sequence[float] | None = None) -> Any:
        """The text encoder with these hooks, each times its multiplier."""
        for hook, factor in zip(self.hooks, multipliers or [1.0] * len(self.hooks), strict=True):
            if hook.on_clip is not None and hook.strength_clip * factor != 0:
                clip = hook.on_clip(clip, hook.strength_clip * factor)
        return clip


def together(*groups: Hooks | None) -> Hooks | None:
    """One group of all; None where there is none."""
    found = [group for group in groups if group is not None]
    if len(found) <= 1:
        return found[0] if found else None
    return Hooks(tuple(hook for group in found for hook in group.hooks))


@dataclass
class HookedNets:
    """The nets of one sampling for conditionings with hooks. Each group holds a lease until its strengths change."""

    model: ModelHandle
    pool: Pool
    held: dict[int, tuple[tuple[float, ...], ExitStack, nn.Module]] = field(default_factory=dict)

    def __enter__(self) -> HookedNets:
        return self

    def __exit__(self, *error: object) -> None:
        for _, stack, _ in self.held.values():
            stack.close()
        self.held.clear()

    def get(self, hooks: Any, sigma: float) -> nn.Module | None:
        """The net to run at sigma; None for the model's own."""
        if not isinstance(hooks, Hooks) or not len(hooks):
            return None
        strengths = hooks.strengths(self.model, sigma)
        known = self.held.get(id(hooks))
        if known is not None and known[0] == strengths:
            return known[2]
        if known is not None:
            known[1].close()
            del self.held[id(hooks)]
        if not any(strengths):
            return None
        stack = ExitStack()
        net = stack.enter_context(self.pool.lease(hooks.patched_model(self.model, sigma).leasable()))
        self.held[id(hooks)] = strengths, stack, net
        return net


def difference(source: Mapping[str, Tensor], own: Mapping[str, Tensor], mark: str) -> Callable[[float], list[Patch]]:
    """Strength -> patches that move every weight of `own` towards the weight of `source` of the same name and shape."""
    shared = [key for key in own if key in source and source[key].shape == own[key].shape]

    def patches(strength: float) -> list[Patch]:
        return [Patch(key, strength, mark, _towards(source, own, key, strength)) for key in shared]

    return patches


def _towards(source: Mapping[str, Tensor], own: Mapping[str, Tensor], key: str, strength: float) -> Callable[[Tensor], Tensor]:
    def delta(weight: Tensor) -> Tensor:
        change = source[key].to(weight.device, torch.float32) - own[key].to(weight.device, torch.float32)
        return weight + change * strength

    return delta
