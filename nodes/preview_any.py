"""Looking at a value of any type."""

from __future__ import annotations

import json

from backend.engine.context import Context
from backend.graph.declare import Wired, node
from nodes.types import Anything, TextOut


@node("PreviewAny", title="Preview Any", category="utils", module="comfy_extras.nodes_preview_any", output=True, outputs=("STRING",))
def preview_any(ctx: Context, *, source: Anything = Wired(tooltip="Anything.")) -> TextOut:
    """Show a value as text, and hand that on: numbers and texts as they are, structures as JSON, all else as Python prints it."""
    text = readable(source)
    ctx.show("text", [text])
    return text


def readable(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        try:
            return json.dumps(value, indent=4)
        except (TypeError, ValueError):  # holds something that JSON has no word for
            return str(value)
    return str(value)
