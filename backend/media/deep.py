"""Pictures in more than 8 bits: PNG with 16, OpenEXR with 32 (FFmpeg encodes both)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PNG_START = 8 + 25  # signature and header chunk
_PNG_FORMATS = {1: "gray16be", 3: "rgb48be", 4: "rgba64be"}
_EXR_FORMATS = {1: "grayf32le", 3: "gbrpf32le", 4: "gbrapf32le"}


def linear(image: Tensor) -> Tensor:
    """sRGB values as light (IEC 61966-2-1); a fourth channel, opacity, stays as it is."""
    colour = image[..., :3]
    light = torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    return torch.cat([light, image[..., 3:]], dim=-1)


def png16(image: Tensor, texts: Mapping[str, str] | None = None) -> bytes:
    """[H, W, 1, 3 or 4] in 0..1 as a PNG of 16 bits a channel; `texts` (ASCII) become tEXt chunks."""
    values = (torch.nan_to_num(image.detach().float()).clamp(0, 1) * 65535).round().cpu().numpy().astype(np.uint16)
    data = _encoded("png", _PNG_FORMATS[image.shape[-1]], values.squeeze(-1) if image.shape[-1] == 1 else values)
    chunks = b"".join(_chunk(b"tEXt", key.encode() + b"\0" + text.encode()) for key, text in (texts or {}).items())
    return data[:_PNG_START] + chunks + data[_PNG_START:]


def exr(image: Tensor) -> bytes:
    """[H, W, 1, 3 or 4] as OpenEXR in float32; nothing is cut off."""
    values = image.detach().float().cpu().numpy()
    return _encoded("exr", _EXR_FORMATS[image.shape[-1]], values.squeeze(-1) if image.shape[-1] == 1 else values)


def _encoded(codec: str, format: str, values: Any) -> bytes:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=format)
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = frame.width, frame.height, format, Fraction(1)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
