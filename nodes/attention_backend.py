"""Which attention a model computes with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from backend.engine.context import Context
from backend.graph.declare import Choice, node
from backend.nn.attention import preferring
from nodes.types import Model

KERNELS = {"auto": "", "comfy kitchen attention": "", "pytorch attention": "fused", "matrix products": "products"}
"""Choice -> kernel. Published files ask for a library of fast kernels; here its place is taken by what was measured to be fastest."""


@dataclass(frozen=True)
class Preferring:
    """Around the net: its attention by one kernel."""

    kernel: str

    def __call__(self, run: Callable[..., Tensor], x: Tensor, t: Tensor, inputs: dict[str, Any]) -> Tensor:
        with preferring(self.kernel):
            return run(x, t, inputs)


@node("ModelAttentionBackend", title="Model Attention Backend", category="advanced/model", module="nodes", outputs=("model",))
def model_attention_backend(ctx: Context, *, model: Model, attention: str = Choice(list(KERNELS))) -> Model:
    """Choose how this model computes attention. "auto" takes what is fastest for device, precision and size; the result is the same."""
    return model.with_tap("forward", Preferring(KERNELS[attention]))
