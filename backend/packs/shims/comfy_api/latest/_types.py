"""Values on some wires."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from backend.media.video import Components as VideoComponents

__all__ = ["MESH", "VOXEL", "VideoCodec", "VideoComponents", "VideoContainer"]


class VideoCodec(str, Enum):  # noqa: UP042
    AUTO = "auto"
    H264 = "h264"

    @classmethod
    def as_input(cls) -> list[str]:
        return [m.value for m in cls]


class VideoContainer(str, Enum):  # noqa: UP042
    AUTO = "auto"
    MP4 = "mp4"

    @classmethod
    def as_input(cls) -> list[str]:
        return [m.value for m in cls]

    @classmethod
    def get_extension(cls, value: Any) -> str:
        return "mp4"


@dataclass
class VOXEL:
    data: Any


@dataclass
class MESH:
    vertices: Any
    faces: Any
