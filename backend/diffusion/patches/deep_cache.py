"""DeepCache (Ma et al. 2023, arXiv:2312.00858): a UNet's deep features change slowly, so most steps run its outer blocks only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.steps import Kept, Steps


class DeepCache(Steps):
    """Of `interval` steps the first runs whole. In the others only `depth` input blocks and as many of the `outputs` blocks up run.

    Blocks in between hand on maps of the right shape that hold nothing; the last of them hands on what it gave at the whole step.
    """

    def __init__(self, interval: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.interval, self.depth, self.last_deep = interval, depth, outputs - depth - 1
        self.now: dict[Any, Any] = {}
        self.whole = True

    def forward(self, inner: Any, x: Tensor, t: Tensor, inputs: dict[str, Any]) -> Tensor:
        facts = inputs["facts"]
        key = (self.at(float(facts["sigmas"][0]), tuple(facts["uuids"])), tuple(x.shape))
        self.now = self.kept.setdefault(key, {})
        self.whole = self.index % self.interval == 0 or not self.inside() or ("output", self.last_deep) not in self.now
        found: Tensor = inner(x, t, inputs)
        return found

    def block(self, call: Any, h: Tensor, facts: Mapping[str, Any]) -> Tensor:
        side, number = place = tuple(facts["block"])
        if (side == "input" and number < self.depth) or (side == "output" and number > self.last_deep):
            outer: Tensor = call(h)
            return outer
        if self.whole:
            out: Tensor = call(h)
            self.now[place] = out if place == ("output", self.last_deep) else out.shape
            return out
        kept = self.now[place]
        return kept if isinstance(kept, Tensor) else h.new_zeros(()).expand(kept)


def deep_cache(model: ModelHandle, interval: int, depth: int, start: float, end: float) -> ModelHandle:
    """Reuse deep features between two shares of sampling. Raises BadInput for a net without a way up, or with too few blocks."""
    outputs = len(getattr(model.sizes, "depth_out", ()))
    if outputs <= depth:
        raise BadInput(
            f"DeepCache needs a UNet with more than {depth} output blocks; {model.family.name} has {outputs}.",
            hint="Choose a smaller depth, or remove DeepCache from this graph.",
            input="depth",
        )
    cache = DeepCache(interval, depth, outputs)
    cache.within(model, start, end)
    return model.with_tap("forward", Kept(cache, cache.forward)).with_tap("block_around", cache.block)
