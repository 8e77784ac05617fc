"""Films: loading, taking apart, putting together, saving."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Annotated, Any, NamedTuple

from backend.base.errors import BadInput, Problem
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import Bool, Combo, Float, SavePrefix, Wired, node
from backend.graph.schema import Files, Socket
from backend.media import video as film
from backend.storage.files import write_bytes
from nodes.audio import Sound
from nodes.image_files import METADATA, content_of, embedded, saved
from nodes.types import FloatOut, Image

video_node = partial(node, category="image/video", module="comfy_extras.nodes_video", form="v3")
Film = Annotated[Any, Socket("VIDEO")]


class Parts(NamedTuple):
    images: Image
    audio: Sound
    fps: FloatOut


def _keep(ctx: Context, data: bytes, prefix: str, ending: str, width: int, height: int) -> None:
    place = next_save(prefix, ctx.services.folders.directory("output"), width, height)
    path = place.folder / f"{place.name}_{place.counter:05}_.{ending}"
    write_bytes(path, data)
    ctx.show("images", [saved(path, place.subfolder, "output")])
    ctx.show("animated", [True])


@video_node("SaveWEBM", output=True, hidden=METADATA, experimental=True)
def save_webm(
    ctx: Context,
    *,
    images: Image,
    filename_prefix: str = SavePrefix("ComfyUI", multiline=False),
    codec: str = Combo(["vp9", "av1"]),
    fps: float = Float(24.0, min=0.01, max=1000.0, step=0.01),
    crf: float = Float(32.0, min=0, max=63.0, step=1, tooltip="Lower is better and larger."),
) -> None:
    """Save a batch as a WebM film with the workflow inside."""
    parts = film.Components(images, Fraction(round(fps * 1000), 1000))
    _keep(ctx, film.encode(parts, codec, embedded(ctx), crf), filename_prefix, "webm", images.shape[2], images.shape[1])


@video_node("SaveVideo", title="Save Video", output=True, hidden=METADATA)
def save_video(
    ctx: Context,
    *,
    video: Film,
    filename_prefix: str = SavePrefix("video/ComfyUI", multiline=False),
    format: str = Combo(["auto", "mp4"], default="auto"),
    codec: str = Combo(["auto", "h264"], default="auto"),
) -> None:
    """Save a film as MP4 with the workflow inside."""
    width, height = video.get_dimensions()
    place = next_save(filename_prefix, ctx.services.folders.directory("output"), width, height)
    path = place.folder / f"{place.name}_{place.counter:05}_.mp4"
    import io

    buffer = io.BytesIO()
    video.save_to(buffer, format=format, codec=codec, metadata=embedded(ctx))
    write_bytes(path, buffer.getvalue())
    ctx.show("images", [saved(path, place.subfolder, "output")])
    ctx.show("animated", [True])


@video_node("CreateVideo", title="Create Video")
def create_video(
    ctx: Context, *, images: Image, fps: float = Float(30.0, min=1.0, max=120.0, step=1.0), audio: Sound = Wired(optional=True)
) -> Film:
    """A film of a batch of images, with sound where there is any."""
    return film.VideoFrames(film.Components(images, Fraction(round(fps * 1000), 1000), audio))


@video_node("GetVideoComponents", title="Get Video Components")
def get_video_components(ctx: Context, *, video: Film) -> Parts:
    """The frames, the sound and the frame rate of a film."""
    parts = video.get_components()
    return Parts(parts.images, parts.audio, float(parts.frame_rate))


@video_node("LoadVideo", title="Load Video", fingerprint=content_of("input", "file"))
def load_video(ctx: Context, *, file: str = Combo(Files("input", content=("video",)), video_upload=True)) -> Film:
    """A film of the input directory. It is read where its frames are needed."""
    try:
        found = film.VideoFile(ctx.services.folders.resolve(file, "input"))
        found.get_dimensions()
    except Problem as problem:
        raise problem.at(node=ctx.node, input="file", file=file) from problem.__cause__
    return found


@video_node("Video Slice", title="Video Slice")
def video_slice(
    ctx: Context,
    *,
    video: Film,
    start_time: float = Float(0.0, min=-100000.0, max=100000.0, step=0.001, tooltip="In seconds; below 0 counts from the end."),
    duration: float = Float(0.0, min=0.0, max=100000.0, step=0.001, tooltip="In seconds; 0 goes to the end."),
    strict_duration: bool = Bool(False, tooltip="Refuse a film that is too short, instead of giving less."),
) -> Film:
    """A part of a film."""
    part = film.part_of(video, start_time, duration)
    if strict_duration and duration and part.get_duration() < duration - 1e-3:
        text = f"The film has only {part.get_duration():.2f} s from there on, not {duration:g}."
        raise BadInput(text, hint="Begin earlier, or ask for less.", node=ctx.node, input="duration")
    return part
