"""Compiling models."""

from __future__ import annotations

from backend.base.errors import BadInput
from backend.diffusion.patches.compiled import compiled
from backend.engine.context import Context
from backend.graph.declare import Combo, node
from nodes.types import Model


@node("TorchCompileModel", category="_for_testing", module="comfy_extras.nodes_torch_compile", form="v3", experimental=True)
def torch_compile_model(ctx: Context, *, model: Model, backend: str = Combo(["inductor", "cudagraphs"])) -> Model:
    """Compile the model's blocks for this device when it first runs; later runs, also after a restart, take what was compiled."""
    device = ctx.services.device.device.type
    if backend == "cudagraphs" and device != "cuda":
        raise BadInput(f"cudagraphs is for CUDA devices; this worker computes on {device}.", hint="Choose inductor.", input="backend")
    return compiled(model, backend, ctx.services.folders.user)
