"""Films, from a file and from frames."""

from backend.media.video import VideoFile as VideoFromFile
from backend.media.video import VideoFrames as VideoFromComponents

__all__ = ["VideoFromComponents", "VideoFromFile"]
