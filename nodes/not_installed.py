"""Nodes whose model families come later. Their sockets are complete, so graphs load and connect; running one says what is missing."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from backend.base.errors import NotInstalled
from backend.engine.context import Context
from backend.graph.declare import Choice, FileChoice, Float, node
from nodes.types import ClipVisionOutput, Conditioning, Gligen, StyleModel

later = partial(node, module="nodes")


def missing(ctx: Context, what: str, file: str | None = None) -> NoReturn:
    """Raises NotInstalled."""
    raise NotInstalled(
        f"{what}: this model family is not installed yet.",
        hint="Remove or bypass this node to run the rest of the graph.",
        node=ctx.node,
        file=file,
    )


def _strength(step: float = 0.01) -> float:
    widget: float = Float(1.0, min=0.0, max=10.0, step=step)
    return widget


@later("StyleModelLoader", title="Load Style Model", category="loaders")
def style_model_loader(ctx: Context, *, style_model_name: str = FileChoice("style_models")) -> StyleModel:
    """Load a style model. Not installed yet."""
    missing(ctx, "Style models", style_model_name)


@later("StyleModelApply", title="Apply Style Model", category="conditioning/style_model")
def style_model_apply(
    ctx: Context,
    *,
    conditioning: Conditioning,
    style_model: StyleModel,
    clip_vision_output: ClipVisionOutput,
    strength: float = _strength(0.001),
    strength_type: str = Choice(["multiply", "attn_bias"]),
) -> Conditioning:
    """Add the style of a picture. Not installed yet."""
    missing(ctx, "Style models")


@later("GLIGENLoader", category="loaders")
def gligen_loader(ctx: Context, *, gligen_name: str = FileChoice("gligen")) -> Gligen:
    """Load a model that places things in boxes. Not installed yet."""
    missing(ctx, "GLIGEN", gligen_name)
