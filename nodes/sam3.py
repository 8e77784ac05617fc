"""SAM 3: finding and segmenting what words mean, or what points and boxes show.

Boxes are values with x, y, width and height in pixels, as for other nodes: one, a list for every picture, or a list of lists with one for
each. Points are JSON, `[{"x": 10, "y": 20}, ...]`, as point editors write them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.phrases.handle import MOST, PHRASE_TOKENS
from backend.engine.context import Context
from backend.families.sam3 import NAME, is_sam3
from backend.families.sam3.finder import Box, Phrase, Thing, View
from backend.graph.declare import Bool, Float, Int, Text, Wired, node
from backend.graph.schema import Socket
from nodes.types import Conditioning, Image, Mask, Model

BoxWire = Annotated[Any, Socket("BOUNDING_BOX")]
MANY = 256
"""Boxes and points for one picture."""
FAR = 1e6


class Found(NamedTuple):
    """Masks, and for each picture a list of its boxes with scores."""

    masks: Mask
    bboxes: BoxWire


@node(
    "SAM3_Detect", title="SAM3 Detect", category="detection", module="nodes", output_tooltips=("1 is what was found.", "Boxes, by picture.")
)
def sam3_detect(
    ctx: Context,
    *,
    model: Model = Wired(tooltip="SAM 3 or SAM 3.1, from Load Checkpoint."),
    image: Image = Wired(tooltip="Each picture of a batch is looked at by itself."),
    conditioning: Conditioning | None = Wired(optional=True, tooltip="What to look for, encoded with the model's own CLIP."),
    bboxes: BoxWire | None = Wired(optional=True, forceInput=True, tooltip="Beside a text: examples. Alone: one object in each."),
    positive_coords: str = Text("", optional=True, forceInput=True, tooltip='Points on an object: [{"x": 10, "y": 20}, ...] in pixels.'),
    negative_coords: str = Text("", optional=True, forceInput=True, tooltip="Points that are not on it."),
    threshold: float = Float(0.5, min=0.0, max=1.0, step=0.01, tooltip="What the model is less sure of is left out."),
    refine_iterations: int = Int(2, min=0, max=5, step=1, tooltip="How often each mask is corrected from close by; 0: not at all."),
    individual_masks: bool = Bool(False, tooltip="A mask for each object rather than one for each picture."),
) -> Found:
    """Find and segment what a text means in pictures, or objects by boxes and points.

    Phrases are set apart by commas; a number behind a colon says how many of each to find at most (`eye:2, hat`), else it is one. A
    picture in which nothing is found gives an empty mask.
    """
    if not is_sam3(model):
        text = f"{model.family.name} cannot find things in pictures; this node takes {NAME}."
        raise BadInput(text, hint="Load sam3.1_multiplex_fp16.safetensors with Load Checkpoint.", node=ctx.node, input="model")
    phrases = _phrases(ctx, conditioning, model.sizes.text)
    boxes = _boxes(ctx, bboxes, image)
    on, apart = (_points(ctx, name, text) for name, text in (("positive_coords", positive_coords), ("negative_coords", negative_coords)))
    if not phrases and not on and not apart and not any(boxes):
        text = "There is nothing to look for: no text, no boxes and no points."
        raise BadInput(text, hint="Connect a CLIP Text Encode that says what to find.", node=ctx.node, input="conditioning")
    if (on or apart or not phrases or refine_iterations) and not model.sizes.interactive:
        if on or apart or not phrases:
            text = f"This file holds only the half of {NAME} that finds things by text."
            raise BadInput(text, hint="Points and boxes alone need a whole file of it.", node=ctx.node, input="model")
        ctx.log(f"This file holds only the half of {NAME} that finds things: masks are not refined.")
    pool, loadable = ctx.services.pool, model.leasable()
    masks: list[Tensor] = []
    found: list[list[dict[str, float]]] = []
    with torch.inference_mode(), pool.lease(loadable, model.family.working_bytes((), model.sizes)) as net:
        for i, picture in enumerate(image):
            view = View(net, picture, pool.device, loadable.dtype)
            own: list[Tensor] = []
            listed: list[dict[str, float]] = []
            for thing in _things(view, phrases, boxes[i], on, apart, threshold, refine_iterations):
                ctx.check()
                listed.append(_described(thing))
                own = [*own, thing.mask] if individual_masks or not own else [own[0] | thing.mask]
            masks += own or [torch.zeros(image.shape[1:3], dtype=torch.bool)]
            found.append(listed)
            ctx.progress(i + 1, len(image))
    return Found(torch.stack(masks).float(), found)


def _things(
    view: View, phrases: Sequence[Phrase], boxes: Sequence[Box], on: Sequence[Any], apart: Sequence[Any], threshold: float, refine: int
) -> Iterator[Thing]:
    """Everything that is asked for in one picture."""
    if on or apart:
        yield view.pointed(on, apart, refine)
    if not phrases:
        for box in boxes:
            yield view.boxed(box, refine)
    for phrase in phrases:
        yield from view.find(phrase, boxes, threshold, refine)


def _described(thing: Thing) -> dict[str, float]:
    left, top, right, bottom = thing.box
    return {"x": left, "y": top, "width": right - left, "height": bottom - top, "score": thing.score}


def _phrases(ctx: Context, conditioning: list[Any] | None, width: int) -> list[Phrase]:
    """The phrases of every entry; raises BadInput for text that another encoder read."""
    found = []
    for text, extra in conditioning or []:
        count, real, most = (extra.get(key) for key in (PHRASE_TOKENS, "attention_mask", MOST))
        fits = isinstance(count, int) and count > 0 and text.shape[0] == 1 and text.shape[1:] == (count * len(most or ()), width)
        if not fits or real is None or real.shape != text.shape[:2]:
            said = f"The text was not encoded as {NAME} reads it (it has the shape {list(text.shape)})."
            hint = "Encode it with the CLIP of the same checkpoint; commas set several phrases apart."
            raise BadInput(said, hint=hint, node=ctx.node, input="conditioning")
        parts = zip(text.split(count, dim=1), real.split(count, dim=1), most, strict=True)
        found += [Phrase(states, mask, limit) for states, mask, limit in parts if limit > 0]
    return found


def _boxes(ctx: Context, given: Any, image: Tensor) -> list[list[Box]]:
    """The boxes of each picture, as far as they lie in it."""
    pictures, height, width = image.shape[:3]
    if given is None:
        return [[] for _ in range(pictures)]
    listed = list(given) if isinstance(given, list | tuple) else [given]
    nested = listed if listed and all(isinstance(each, list | tuple) for each in listed) else [listed]
    if len(nested) not in (1, pictures):
        text = f"There are boxes for {len(nested)} pictures, and {pictures} pictures."
        raise BadInput(text, hint="Give one list for all, or one for each.", node=ctx.node, input="bboxes")
    boxes = [[_box(ctx, each, width, height) for each in own] for own in nested]
    if any(len(own) > MANY for own in boxes):
        text = f"There are {max(map(len, boxes))} boxes in one picture."
        raise BadInput(text, hint=f"At most {MANY} are taken.", node=ctx.node, input="bboxes")
    return boxes if len(boxes) == pictures else boxes * pictures


def _box(ctx: Context, given: Any, wide: int, tall: int) -> Box:
    """A box cut at the sides of a picture: what is seen of the rest is nothing, and a box without end would take memory without end."""
    try:
        x, y, width, height = (float(given[key]) for key in ("x", "y", "width", "height"))
    except (TypeError, KeyError, IndexError, ValueError, OverflowError) as error:
        text = f"`bboxes` holds something that is no box: {given!r:.60}."
        raise BadInput(text, hint="A box has x, y, width and height.", node=ctx.node, input="bboxes") from error
    if not all(abs(n) < FAR for n in (x, y, width, height)) or width <= 0 or height <= 0:
        raise BadInput(f"The box {given!r:.80} has no area.", hint="Its sides are in pixels, above zero.", node=ctx.node, input="bboxes")
    left, top, right, bottom = max(0.0, x), max(0.0, y), min(float(wide), x + width), min(float(tall), y + height)
    if left >= right or top >= bottom:
        text = f"The box {given!r:.80} lies outside of the picture, which has {wide} x {tall} pixels."
        raise BadInput(text, hint="Give boxes in pixels of this picture.", node=ctx.node, input="bboxes")
    return left, top, right, bottom


def _points(ctx: Context, name: str, text: str) -> list[tuple[float, float]]:
    if not text or not text.strip():
        return []
    hint = 'Points are written as [{"x": 10, "y": 20}, {"x": 40, "y": 60}], in pixels.'
    try:
        listed = json.loads(text)
        pairs = [(each["x"], each["y"]) if isinstance(each, dict) else each for each in (listed if isinstance(listed, list) else [listed])]
        points = [(float(x), float(y)) for x, y in pairs]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise BadInput(f"`{name}` is no list of points: {text!r:.60}.", hint=hint, node=ctx.node, input=name) from error
    if len(points) > MANY or not all(math.isfinite(n) and abs(n) < FAR for point in points for n in point):
        text = f"`{name}` has {len(points)} points, or some that are in no picture."
        raise BadInput(text, hint=f"At most {MANY} are taken. {hint}", node=ctx.node, input=name)
    return points
