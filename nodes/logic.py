"""Switches, formulas, lists: nodes that decide what a graph does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from string import ascii_lowercase
from typing import Any, NamedTuple

from backend.base.arithmetic import evaluate
from backend.base.errors import BadInput, Problem
from backend.engine.context import Context
from backend.graph.declare import Bool, Combo, Float, Int, Seed, Text, Wired, node
from backend.graph.schema import Widget
from nodes.types import Anything, BoolOut, FloatOut, IntOut, TextOut

logic = partial(node, category="utils/logic", module="comfy_extras.nodes_logic", form="v3")
NUMBER = "FLOAT,INT,BOOLEAN"


class Numbers(NamedTuple):
    FLOAT: FloatOut
    INT: IntOut


class NumbersAndTruth(NamedTuple):
    FLOAT: FloatOut
    INT: IntOut
    BOOL: BoolOut


class Chosen(NamedTuple):
    STRING: TextOut
    INDEX: IntOut


class Size(NamedTuple):
    width: IntOut
    height: IntOut


def _wanted(ctx: Context, switch: Any = None, **inputs: Any) -> list[str]:
    return [] if switch is None else ["on_true" if switch else "on_false"]


@logic("ComfySwitchNode", title="Switch", outputs=("output",), lazy_status=_wanted)
def switch_node(
    ctx: Context,
    *,
    switch: bool = Bool(False),
    on_false: Anything = Wired(optional=True, lazy=True),
    on_true: Anything = Wired(optional=True, lazy=True),
) -> Anything:
    """Hand on one of two values. What feeds the other one is not run."""
    name = "on_true" if switch else "on_false"
    chosen = on_true if switch else on_false
    if chosen is None:
        raise BadInput(f"The switch chooses `{name}`, and nothing is connected there.", hint="Connect it.", node=ctx.node, input=name)
    return chosen


def grown(group: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a group that grows with what is connected ("values.a", "values.b" ...) by their own name, without empty ones."""
    return {name.removeprefix(f"{group}."): value for name, value in inputs.items() if name.startswith(f"{group}.") and value is not None}


def growing(kind: str, *, prefix: str = "", names: Sequence[str] = "", least: int = 1, most: int = 50) -> Any:
    """Declares a group that grows: `<group>.<prefix>0`, `<group>.<prefix>1` ..., or by each of `names`, in the published form."""
    called: dict[str, Any] = {"names": list(names)} if names else {"prefix": prefix, "max": most}
    template = {"input": {"required": {prefix or "value": [kind, {}]}}, **called, "min": least}
    return Widget("COMFY_AUTOGROW_V3", {"template": template}, True, None, True)


@logic("ComfyMathExpression", title="Math Expression", category="utils/math")
def math_expression(
    ctx: Context, *, expression: str = Text("a + b", multiline=True), values: None = growing(NUMBER, names=ascii_lowercase), **inputs: Any
) -> NumbersAndTruth:
    """Compute a formula of the connected numbers a, b, c ...: operators, comparisons, and, or, not, functions such as floor and max."""
    numbers = grown("values", inputs)
    for name, value in numbers.items():
        if not isinstance(value, int | float):
            raise BadInput(f"`{name}` is {type(value).__name__}, not a number.", node=ctx.node, input=f"values.{name}")
    try:
        found = evaluate(expression, numbers)
    except Problem as problem:
        raise problem.at(node=ctx.node, input="expression") from None
    whole = int(found) if math.isfinite(found) else 0
    return NumbersAndTruth(_as_float(found), whole, bool(found))


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@logic("ComfyNumberConvert", title="Convert to Number", category="utils/math")
def number_convert(ctx: Context, *, value: Anything = Wired()) -> Numbers:
    """A text, a number or a truth value as a number."""
    try:
        number = float(value.strip()) if isinstance(value, str) else float(value)
        return Numbers(number, int(number))
    except (TypeError, ValueError, OverflowError):
        hint = "Connect a number, or a text that holds one."
        raise BadInput(f"{value!r:.60} is no number.", hint=hint, node=ctx.node, input="value") from None


@logic("SeedNode", title="Seed", category="utils/primitive", outputs=("seed",))
def seed_node(ctx: Context, *, seed: int = Seed()) -> IntOut:
    """A seed for several nodes."""
    return seed


@logic("CustomCombo", title="Custom Combo", category="utils")
def custom_combo(ctx: Context, *, choice: str = Combo(None), index: int = Int(0, min=0, max=10000, optional=True), **inputs: Any) -> Chosen:
    """One of the options typed into this node, as text and as its position."""
    options = [str(inputs[name]) for name in sorted(inputs, key=_natural) if name.startswith("option") and inputs[name] not in (None, "")]
    return Chosen(choice, options.index(choice) if choice in options else index or 0)


def _natural(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return (int(digits) if digits else 0, name)


@logic("JsonExtractString", title="Extract String from JSON", category="utils/string")
def json_extract_string(ctx: Context, *, json_string: str = Text("", multiline=True), key: str = Text("")) -> TextOut:
    """The value under a key of a JSON object, at any depth; "" where there is none. Text around the object is passed over."""
    found = _find(_objects(json_string), key)
    return "" if found is None else found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _objects(text: str) -> Any:
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            return decoder.raw_decode(text, at)[0]
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
    return None


def _find(value: Any, key: str) -> Any:
    queue = [value]
    while queue:
        item = queue.pop(0)
        if isinstance(item, dict):
            if key in item:
                return item[key]
            queue += item.values()
        elif isinstance(item, list):
            queue += item
    return None


@logic("CreateList", title="Create List", category="utils/list", outputs=("list",))
def create_list(ctx: Context, *, inputs: None = growing("*", prefix="input"), **wired: Any) -> Anything:
    """The connected values as one list."""
    return list(grown("inputs", wired).values())


@logic("GetItemFromList", title="Get Item from List", category="utils/list", outputs=("*",))
def get_item_from_list(ctx: Context, *, list: Anything = Wired(), index: int = Int(0, min=-10000, max=10000)) -> Anything:
    """One value of a list; negative positions count from its end."""
    try:
        return list[index]
    except (IndexError, TypeError, KeyError):
        many = len(list) if hasattr(list, "__len__") else "no"
        hint = "Positions begin at 0."
        raise BadInput(f"The list has {many} values; there is none at {index}.", hint=hint, node=ctx.node, input="index") from None


RATIOS = [
    "1:1 (Square)", "3:2 (Photo)", "4:3 (Standard)", "16:9 (Widescreen)", "21:9 (Ultrawide)", "2:3 (Portrait Photo)",
    "3:4 (Portrait Standard)", "9:16 (Portrait Widescreen)", "9:21 (Portrait Ultrawide)",
]  # fmt: skip


@logic("ResolutionSelector", title="Resolution Selector", category="utils")
def resolution_selector(
    ctx: Context,
    *,
    aspect_ratio: str = Combo(RATIOS, default=RATIOS[0]),
    megapixels: float = Float(1.0, min=0.01, max=64.0, step=0.01),
    multiple: int = Int(8, min=1, max=256, optional=True),
) -> Size:
    """Width and height of an aspect ratio with about so many megapixels (of 1024 x 1024), each a multiple of a number."""
    across, down = (int(n) for n in aspect_ratio.partition(" ")[0].split(":"))
    area, step = megapixels * 1024 * 1024, multiple or 1
    return Size(*(max(step, round(math.sqrt(area * r) / step) * step) for r in (across / down, down / across)))
