"""Prompts for models that are told the guidance scale."""

from __future__ import annotations

from backend.engine.context import Context
from backend.graph.declare import Float, node
from nodes.conditioning import with_values
from nodes.types import Conditioning


@node("FluxGuidance", category="advanced/conditioning/flux", module="comfy_extras.nodes_flux", form="v3")
def flux_guidance(ctx: Context, *, conditioning: Conditioning, guidance: float = Float(3.5, min=0.0, max=100.0, step=0.1)) -> Conditioning:
    """Tell a distilled model that takes the guidance scale as an input (LCM, Flux) how strongly to follow the prompt."""
    return with_values(conditioning, guidance=guidance)
