"""A text encoder with hooks: what it encodes carries them, and may be encoded once for each of their keyframes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from backend.diffusion.hooks import Hooks, together
from backend.memory.pool import Pool


@dataclass(frozen=True)
class HookedClip:
    """Stands for `clip`, and answers everything else as it does.

    `on_conds`: conditionings get the hooks, so that the model is patched too. `scheduled`: one conditioning for every stretch between
    keyframes, encoded at their strengths.
    """

    clip: Any
    hooks: Hooks
    on_conds: bool = True
    scheduled: bool = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.clip, name)

    def with_layer(self, layer: int | None) -> HookedClip:
        return replace(self, clip=self.clip.with_layer(layer))

    def with_options(self, **options: int) -> HookedClip:
        return replace(self, clip=self.clip.with_options(**options))

    def patched(self, *patches: Any) -> HookedClip:
        return replace(self, clip=self.clip.patched(*patches))

    def encode(self, tokens: Any, pool: Pool) -> Any:
        return self.hooks.patched_clip(self.clip).encode(tokens, pool)

    def encoded(self, tokens: Any, pool: Pool) -> Any:
        return self.hooks.patched_clip(self.clip).encoded(tokens, pool)

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """One entry, or one for each stretch of sampling."""
        carried = {"hooks": self.hooks} if self.on_conds else {}
        if not self.scheduled:
            return _with(self.hooks.patched_clip(self.clip).conditioning(text, pool), carried)
        starts = sorted({0.0, *(frame.start for hook in self.hooks.hooks for frame in hook.keyframes[1:])})
        found = []
        for start, end in zip(starts, [*starts[1:], 1.0], strict=True):
            # percent counts up where sigma counts down: a hook is asked for the stretch that begins at `start`
            factors = [hook.multiplier(1 - start, lambda share: 1 - share) for hook in self.hooks.hooks]
            when = {"clip_start_percent": start, "clip_end_percent": end} if len(starts) > 1 else {}
            found += _with(self.hooks.patched_clip(self.clip, factors).conditioning(text, pool), {**carried, **when})
        return found


def _with(conditioning: list[list[Any]], values: dict[str, Any]) -> list[list[Any]]:
    return [[tokens, {**extra, **values, **_hooks(extra, values)}] for tokens, extra in conditioning]


def _hooks(extra: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    found = together(extra.get("hooks"), values.get("hooks"))
    return {} if found is None else {"hooks": found}
