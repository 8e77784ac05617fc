"""Pictures for clients that wait on the websocket instead of reading files."""

from __future__ import annotations

import io
import secrets
from typing import Any

from PIL.Image import Image as Picture

from backend.engine.context import Context, Preview
from backend.graph.declare import node
from backend.imaging.picture import to_pictures
from nodes.types import Image


def _always_new(ctx: Context, **_: Any) -> str:
    return secrets.token_hex(8)  # a client that asks again wants the picture again


def _png(picture: Picture) -> Preview:
    def encode() -> tuple[str, bytes]:
        out = io.BytesIO()
        picture.save(out, "PNG")
        return "png", out.getvalue()

    return Preview(encode)


@node("SaveImageWebsocket", category="api/image", module="custom_nodes.websocket_image_save", output=True, fingerprint=_always_new)
def save_image_websocket(ctx: Context, *, images: Image) -> None:
    """Send images at full size over the websocket, as preview frames in PNG; nothing is written to disk."""
    pictures = to_pictures(images)
    for number, picture in enumerate(pictures, 1):
        ctx.progress(number, len(pictures), _png(picture))
