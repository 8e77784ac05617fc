"""Skeletons of people for steering, by a model that the user places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch

from backend.base.errors import BadInput
from backend.encoders.pose.spec import Box, PoseModel, load_pose_model
from backend.engine.context import Context
from backend.graph.declare import FileChoice, Float, Text, node
from backend.graph.schema import Socket
from backend.imaging import skeleton
from nodes.loaders import open_named
from nodes.types import Image

PoseWire = Annotated[PoseModel, Socket("POSE_MODEL")]
BoxWire = Annotated[Any, Socket("BOUNDING_BOX")]
Keypoints = Annotated[list[dict[str, Any]], Socket("POSE_KEYPOINT")]
MOST_PEOPLE = 256


class Skeletons(NamedTuple):
    """The picture, and the points in OpenPose's form: for each image its people."""

    image: Image
    pose_keypoint: Keypoints


@node("LoadPoseModel", title="Load Pose Model", category="loaders", module="nodes")
def load_pose(ctx: Context, *, name: str = FileChoice("clip_vision")) -> PoseWire:
    """Load ViTPose or ViTPose++ (small, base, large or huge): place its file into models/clip_vision."""
    return open_named(ctx, "name", "clip_vision", name, load_pose_model)


@node("PoseSkeleton", title="Pose Skeleton (OpenPose)", category="image/preprocessors", module="nodes")
def pose_skeleton(
    ctx: Context,
    *,
    image: Image,
    pose_model: PoseWire,
    boxes: str = Text(
        "", multiline=True, tooltip="One person a line: left, top, width, height in pixels. Empty: one person fills the picture."
    ),
    threshold: float = Float(0.3, min=0.0, max=1.0, step=0.01, tooltip="Points the model is less sure of are left out."),
    thickness: float = Float(1.0, min=0.1, max=10.0, step=0.1, tooltip="1 is what ControlNets were trained with."),
    bounding_boxes: BoxWire | None = None,
) -> Skeletons:
    """Draw people as coloured skeletons on black, as ControlNets for OpenPose expect. Wired bounding boxes go before those of the text.

    They may be one list for every image, or a list for each, as SAM3 Detect gives them.
    """
    height, width = image.shape[1:3]
    if bounding_boxes is not None:
        every = _by_image(ctx, bounding_boxes, len(image))
    else:
        every = [_written(ctx, boxes) or [(0.0, 0.0, float(width), float(height))]] * len(image)
    pictures, found = [], []
    for each, places in zip(image, every, strict=True):
        people = [skeleton.from_coco(person, threshold) for person in pose_model.people(each, places, ctx.services.pool)]
        pictures.append(skeleton.draw(people, height, width, thickness))
        listed = [{"pose_keypoints_2d": [n for point in points for n in point or (0.0, 0.0, 0.0)]} for points in people]
        found.append({"people": listed, "canvas_height": height, "canvas_width": width})
    return Skeletons(torch.stack(pictures), found)


def _written(ctx: Context, text: str) -> list[Box]:
    lines = [line for line in text.splitlines() if line.strip()]
    return _checked(ctx, "boxes", [line.replace(",", " ").split() for line in lines])


def _by_image(ctx: Context, given: Any, images: int) -> list[list[Box]]:
    """The boxes of each image."""
    nested = isinstance(given, list | tuple) and len(given) > 0 and all(isinstance(each, list | tuple) for each in given)
    if not nested:
        return [_wired(ctx, given)] * images
    if len(given) not in (1, images):
        text = f"There are boxes for {len(given)} images, and {images} images."
        raise BadInput(text, hint="Give one list for all, or one for each.", node=ctx.node, input="bounding_boxes")
    listed = [_wired(ctx, each) for each in given]
    return listed if len(listed) == images else listed * images


def _wired(ctx: Context, given: Any) -> list[Box]:
    """A box as nodes give it (x, y, width, height by name), or a list of them."""
    listed = given if isinstance(given, list | tuple) else [given]
    try:
        return _checked(ctx, "bounding_boxes", [[each[key] for key in ("x", "y", "width", "height")] for each in listed])
    except (TypeError, KeyError, IndexError) as error:
        text = "`bounding_boxes` holds something that is no box."
        raise BadInput(text, hint="A box has x, y, width and height.", node=ctx.node, input="bounding_boxes") from error


def _checked(ctx: Context, name: str, rows: Sequence[Sequence[Any]]) -> list[Box]:
    hint = "Each box is left, top, width, height in pixels, such as 40, 10, 200, 480."
    if len(rows) > MOST_PEOPLE:
        raise BadInput(f"`{name}` has {len(rows)} boxes.", hint=f"At most {MOST_PEOPLE} people are looked for.", node=ctx.node, input=name)
    found = []
    for i, row in enumerate(rows, 1):
        try:
            left, top, width, height = (float(n) for n in row)
        except (ValueError, TypeError, OverflowError) as error:
            raise BadInput(f"Box {i} of `{name}` is not four numbers.", hint=hint, node=ctx.node, input=name) from error
        if not (all(map(math.isfinite, (left, top))) and 0 < width < 1e6 and 0 < height < 1e6 and max(abs(left), abs(top)) < 1e6):
            raise BadInput(f"Box {i} of `{name}` has no area.", hint=hint, node=ctx.node, input=name)
        found.append((left, top, width, height))
    return found
