"""VIDEO values: a film from a file, read when it is needed, or made of frames; both have the methods that node packs call."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.media.audio import add_sound, audio, checked, layout_of, read_audio

MOST_PIXELS = 1 << 33  # of all frames of a film together: 32 GiB of float32 RGB would be far beyond most machines
Codec = str


@dataclass(frozen=True)
class Components:
    """A film in parts: images [N, H, W, 3] in 0..1, sound or None, frames a second, and texts of the file."""

    images: Tensor
    frame_rate: Fraction
    audio: dict[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.images, self.audio, self.frame_rate, self.metadata))


class Video(Protocol):
    """What travels on a VIDEO wire."""

    def get_components(self) -> Components: ...
    def get_dimensions(self) -> tuple[int, int]: ...
    def get_duration(self) -> float: ...
    def get_frame_rate(self) -> Fraction: ...
    def get_stream_source(self) -> str | BinaryIO: ...
    def save_to(
        self, path: str | Path | BinaryIO, format: str = "auto", codec: str = "auto", metadata: Mapping[str, Any] | None = None
    ) -> None: ...


@dataclass(frozen=True)
class VideoFrames:
    """A film made of frames."""

    components: Components

    def get_components(self) -> Components:
        return self.components

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height)"""
        return self.components.images.shape[2], self.components.images.shape[1]

    def get_duration(self) -> float:
        """Seconds."""
        return float(self.components.images.shape[0] / self.components.frame_rate)

    def get_frame_rate(self) -> Fraction:
        return self.components.frame_rate

    def get_stream_source(self) -> BinaryIO:
        return io.BytesIO(encode(self.components))

    def save_to(
        self, path: str | Path | BinaryIO, format: str = "auto", codec: str = "auto", metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write an MP4 with H.264. Raises BadInput for another format or codec."""
        _known(format, codec)
        data = encode(self.components, metadata=metadata)
        if isinstance(path, str | Path):
            Path(path).write_bytes(data)
        else:
            path.write(data)


@dataclass(frozen=True)
class VideoFile:
    """A film in a file, or a part of it: `start` (negative: before its end) and `duration` (0: to the end) in seconds."""

    path: Path
    start: float = 0.0
    duration: float = 0.0

    def get_stream_source(self) -> str | BinaryIO:
        return io.BytesIO(encode(self.get_components())) if self.is_part else str(self.path)

    @property
    def is_part(self) -> bool:
        return bool(self.start or self.duration)

    def get_dimensions(self) -> tuple[int, int]:
        with self._open() as container:
            stream = _film(container, self.path.name)
            return stream.codec_context.width, stream.codec_context.height

    def get_duration(self) -> float:
        whole = self._whole()
        start = self._start(whole)
        return min(self.duration, whole - start) if self.duration else whole - start

    def _whole(self) -> float:
        import av

        with self._open() as container:
            stream = _film(container, self.path.name)
            if container.duration is not None:
                return float(Fraction(container.duration, av.time_base))
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return sum(1 for _ in container.decode(stream)) / float(stream.average_rate or 1)

    def _start(self, whole: float) -> float:
        return max(0.0, whole + self.start) if self.start < 0 else self.start

    def get_frame_rate(self) -> Fraction:
        with self._open() as container:
            return _rate(_film(container, self.path.name))

    def get_components(self) -> Components:
        """All frames and the sound. Raises BadFile for what is no film, or one too large to hold."""
        import av

        start = self._start(self._whole()) if self.start else 0.0
        end = start + self.duration if self.duration else float("inf")
        frames: list[Tensor] = []
        with self._open() as container:
            stream = _film(container, self.path.name)
            stream.thread_type = "AUTO"
            rate, texts = _rate(stream), dict(container.metadata)
            try:
                for frame in container.decode(stream):
                    at = frame.time if frame.time is not None else len(frames) / float(rate)
                    if at >= end - 1e-6:
                        break
                    if at < start - 1e-6:
                        continue
                    frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
                    if len(frames) * frame.width * frame.height > MOST_PIXELS:
                        hint = "Load a part of it with Video Slice."
                        raise BadFile(f"{self.path.name} has more frames than fit into memory.", hint=hint)
            except av.error.FFmpegError as error:
                if not frames:
                    raise _unreadable(self.path, error) from error
            has_sound = bool(container.streams.audio)
        if not frames:
            raise BadFile(f"{self.path.name} has no frames{' in that part' if self.is_part else ''}.", hint="Choose another part or file.")
        images = torch.empty(len(frames), *frames[0].shape)
        for i, frame in enumerate(frames):
            images[i] = frame
            frames[i] = frame.new_empty(0)
        images /= 255
        return Components(images, rate, self._sound(start, end) if has_sound else None, texts)

    def _sound(self, start: float, end: float) -> dict[str, Any] | None:
        try:
            sound = read_audio(self.path)
        except BadFile:
            return None
        if not self.is_part:
            return sound
        rate = sound["sample_rate"]
        last = None if end == float("inf") else round(end * rate)
        return audio(sound["waveform"][..., round(start * rate) : last], rate)

    def save_to(
        self, path: str | Path | BinaryIO, format: str = "auto", codec: str = "auto", metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write an MP4 with H.264. A whole file that is that already is copied without encoding it again."""
        _known(format, codec)
        data = self._copied(metadata) if not self.is_part and self._is_mp4() else encode(self.get_components(), metadata=metadata)
        if isinstance(path, str | Path):
            Path(path).write_bytes(data)
        else:
            path.write(data)

    def _is_mp4(self) -> bool:
        with self._open() as container:
            return "mp4" in container.format.name and _film(container, self.path.name).codec_context.name == "h264"

    def _copied(self, metadata: Mapping[str, Any] | None) -> bytes:
        import av

        out = io.BytesIO()
        with self._open() as source, av.open(out, "w", format="mp4", options=_TAGS) as target:
            _tag(target, {**source.metadata, **(metadata or {})})
            streams = {s.index: target.add_stream_from_template(s, opaque=True) for s in source.streams if s.type in ("video", "audio")}
            for packet in source.demux():
                if packet.stream.index in streams and packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
        return out.getvalue()

    def _open(self) -> Any:
        import av

        try:
            return av.open(str(self.path))
        except (av.error.FFmpegError, OSError) as error:
            raise _unreadable(self.path, error) from error


def part_of(video: Video, start: float, duration: float) -> Video:
    """`duration` seconds of a film from `start` on (0: to its end; a negative start counts from the end). A file stays a file."""
    if isinstance(video, VideoFile) and not video.is_part:
        return VideoFile(video.path, start, duration)
    whole = video.get_components()
    seconds = whole.images.shape[0] / float(whole.frame_rate)
    begin = max(0.0, seconds + start) if start < 0 else start
    end = begin + duration if duration else seconds
    images = whole.images[round(begin * whole.frame_rate) : round(end * whole.frame_rate)]
    if not len(images):
        raise BadInput(
            f"The film is {seconds:.2f} s long; there is nothing from {begin:.2f} s on.", hint="Begin earlier.", input="start_time"
        )
    sound = whole.audio
    if sound is not None:
        rate = sound["sample_rate"]
        sound = audio(sound["waveform"][..., round(begin * rate) : round(end * rate)], rate)
    return VideoFrames(Components(images, whole.frame_rate, sound, whole.metadata))


_TAGS = {"movflags": "use_metadata_tags"}
FORMATS = {
    "h264": ("mp4", "libx264", "yuv420p", _TAGS),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", {}),
    "av1": ("webm", "libsvtav1", "yuv420p10le", {}),
}


def encode(components: Components, codec: Codec = "h264", metadata: Mapping[str, Any] | None = None, crf: float | None = None) -> bytes:
    """A film file with its sound ("h264": MP4 with AAC; "vp9", "av1": WebM with Opus). `crf`: lower is better, 0..63.

    Odd sides lose a row or column where the codec's colours are kept for blocks of 2 x 2.
    """
    import av

    container_name, name, pixels, options = FORMATS[codec]
    images = components.images
    height, width = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    if not height or not width:
        raise BadInput("A film must be at least 2 pixels wide and high.", input="images")
    out = io.BytesIO()
    with av.open(out, "w", format=container_name, options=options) as container:
        _tag(container, {**components.metadata, **(metadata or {})})
        stream: Any = container.add_stream(name, rate=Fraction(round(components.frame_rate * 1000), 1000))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if crf is not None:
            stream.bit_rate = 0
            stream.options = {"crf": str(crf)} | ({"preset": "6"} if codec == "av1" else {})
        tones = components.audio
        sound: Any = None
        if tones is not None:
            waveform, rate = checked(tones)
            sound = container.add_stream(
                "aac" if codec == "h264" else "libopus", rate=rate if codec == "h264" else 48000, layout=layout_of(waveform[0])
            )
        for image in images:
            array = (image[:height, :width, :3].detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode(None))
        if sound is not None:
            # no longer than the pictures: players would go on with the last frame
            most = round(images.shape[0] / components.frame_rate * rate)
            add_sound(container, sound, waveform[0, :, :most], rate)
    return out.getvalue()


def as_film_frames(images: Tensor, crf: int) -> Tensor:
    """Each image [B, H, W, 3], encoded as a film of its own and decoded again; `crf` 0..100 (51 is the codec's worst). Even sides."""
    import av

    made = []
    for image in images:
        data = io.BytesIO(encode(Components(image.unsqueeze(0), Fraction(1)), crf=min(crf, 51)))
        with av.open(data, "r") as container:
            frame = next(container.decode(video=0))
            made.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).float() / 255)
    return torch.stack(made)


def _tag(container: Any, texts: Mapping[str, Any]) -> None:
    for key, text in texts.items():
        container.metadata[key] = str(text)


def _known(format: str, codec: str) -> None:
    if format not in ("auto", "mp4") or codec not in ("auto", "h264"):
        raise BadInput(f"Films cannot be saved as {format} with {codec}.", hint="Use mp4 with h264.", input="format")


def _film(container: Any, name: str) -> Any:
    if not container.streams.video:
        raise BadFile(f"{name} holds no film.", hint="Use a film such as an MP4 or WebM file.")
    return container.streams.video[0]


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 1)


def _unreadable(path: Path, error: Exception) -> BadFile:
    said = getattr(error, "strerror", None) or str(error)
    return BadFile(f"{path.name} cannot be read as a film: {said}.", hint="Convert it to MP4 or WebM.")
