"""Types of inputs, for annotations."""

from typing import Any

from backend.media.video import Video as VideoInput

ImageInput = MaskInput = LatentInput = CurveInput = Any
AudioInput = dict

__all__ = ["AudioInput", "ImageInput", "LatentInput", "MaskInput", "VideoInput"]
