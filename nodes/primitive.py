"""A value on its own, to feed several inputs."""

from __future__ import annotations

from functools import partial

from backend.engine.context import Context
from backend.graph.declare import Bool, Float, Int, Text, node
from nodes.types import BoolOut, FloatOut, IntOut, TextOut

primitive = partial(node, category="utils/primitive", module="comfy_extras.nodes_primitive", form="v3")

WIDE = 2**63 - 1


@primitive("PrimitiveString", title="String")
def text_value(ctx: Context, *, value: str = Text(multiline=False)) -> TextOut:
    """A line of text."""
    return value


@primitive("PrimitiveStringMultiline", title="String (Multiline)")
def long_text_value(ctx: Context, *, value: str = Text(multiline=True)) -> TextOut:
    """Text of several lines."""
    return value


@primitive("PrimitiveInt", title="Int")
def int_value(ctx: Context, *, value: int = Int(min=-WIDE, max=WIDE, control_after_generate=True)) -> IntOut:
    """A whole number."""
    return value


@primitive("PrimitiveFloat", title="Float")
def float_value(ctx: Context, *, value: float = Float(min=-WIDE, max=WIDE)) -> FloatOut:
    """A number."""
    return value


@primitive("PrimitiveBoolean", title="Boolean")
def bool_value(ctx: Context, *, value: bool = Bool()) -> BoolOut:
    """Yes or no."""
    return value
