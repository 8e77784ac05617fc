"""Films: parts, containers and codecs."""

from comfy_api.latest._types import VideoCodec, VideoComponents, VideoContainer

__all__ = ["VideoCodec", "VideoComponents", "VideoContainer"]
