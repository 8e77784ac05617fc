"""Sound: loading, saving, cutting, mixing."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch

from backend.base.errors import BadInput, Problem
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import Choice, Float, Int, SavePrefix, Wired, node
from backend.graph.schema import Files, Socket
from backend.media import audio as sound
from backend.storage.files import write_bytes
from nodes.image_files import METADATA, content_of, embedded, saved
from nodes.resize_any import ways

audio_node = partial(node, category="audio", module="comfy_extras.nodes_audio")
Sound = Annotated[dict[str, Any], Socket("AUDIO")]
Recording = Annotated[str, Socket("AUDIO_RECORD")]
BITRATES = ["64k", "96k", "128k", "192k", "320k"]
HUGE = 0xFFFFFFFFFFFFFFFF


class Sides(NamedTuple):
    left: Sound
    right: Sound


def keep(ctx: Context, value: Sound, prefix: str, format: str, quality: str = "", kind: str = "output") -> None:
    """Write each sound of a batch to a numbered file with the workflow inside, and show it."""
    waveform, rate = sound.checked(value)
    place = next_save(prefix, ctx.services.folders.directory(kind))
    items = []
    for number, row in enumerate(waveform):
        ctx.check()
        path = place.folder / f"{place.name.replace('%batch_num%', str(number))}_{place.counter + number:05}_.{format}"
        write_bytes(path, sound.encode(row, rate, format, quality, embedded(ctx)))
        items.append(saved(path, place.subfolder, kind))
    ctx.show("audio", items)


@audio_node("SaveAudio", title="Save Audio (FLAC)", output=True, hidden=METADATA)
def save_audio(ctx: Context, *, audio: Sound, filename_prefix: str = SavePrefix("audio/ComfyUI")) -> None:
    """Save sound without loss, with the workflow inside."""
    keep(ctx, audio, filename_prefix, "flac")


@audio_node("SaveAudioMP3", title="Save Audio (MP3)", output=True, hidden=METADATA)
def save_audio_mp3(
    ctx: Context,
    *,
    audio: Sound,
    filename_prefix: str = SavePrefix("audio/ComfyUI"),
    quality: str = Choice(["V0", "128k", "320k"], default="V0"),
) -> None:
    """Save sound as MP3, with the workflow inside."""
    keep(ctx, audio, filename_prefix, "mp3", quality)


@audio_node("SaveAudioOpus", title="Save Audio (Opus)", output=True, hidden=METADATA)
def save_audio_opus(
    ctx: Context, *, audio: Sound, filename_prefix: str = SavePrefix("audio/ComfyUI"), quality: str = Choice(BITRATES, default="128k")
) -> None:
    """Save sound as Opus, with the workflow inside."""
    keep(ctx, audio, filename_prefix, "opus", quality)


def _qualities(options: list[str], default: str) -> dict[str, Any]:
    return {"quality": ["COMBO", {"default": default, "options": options, "multiselect": False}]}


@audio_node("SaveAudioAdvanced", title="Save Audio (Advanced)", output=True, hidden=METADATA, form="v3", outputs=("audio",))
def save_audio_advanced(
    ctx: Context,
    *,
    audio: Sound,
    filename_prefix: str = SavePrefix("audio/ComfyUI"),
    format: str = ways({"flac": {}, "mp3": _qualities(["V0", "128k", "320k"], "V0"), "opus": _qualities(BITRATES, "128k")}, "flac"),
    **options: Any,
) -> Sound:
    """Save sound in a format of choice, with the workflow inside, and hand it on."""
    qualities = {"flac": [""], "mp3": ["V0", "128k", "320k"], "opus": ["128k", *BITRATES]}
    if format not in qualities:
        raise BadInput(f"`format` is {format!r:.40}.", hint="Choose flac, mp3 or opus.", node=ctx.node, input="format")
    quality = options.get("format.quality", qualities[format][0])
    if quality not in qualities[format]:
        hint = f"Choose one of {', '.join(qualities[format])}."
        raise BadInput(f"`quality` is {quality!r:.40}.", hint=hint, node=ctx.node, input="format.quality")
    keep(ctx, audio, filename_prefix, format, quality)
    return audio


@audio_node("PreviewAudio", title="Preview Audio", output=True, hidden=METADATA)
def preview_audio(ctx: Context, *, audio: Sound) -> None:
    """Hear sound without keeping it."""
    keep(ctx, audio, f"ComfyUI_temp_{secrets.token_hex(3)}", "flac", kind="temp")


def _load(ctx: Context, path: Path, name: str) -> Sound:
    try:
        return sound.read_audio(path, name)
    except Problem as problem:
        raise problem.at(node=ctx.node, input="audio", file=name) from problem.__cause__


@audio_node("LoadAudio", title="Load Audio", fingerprint=content_of("input", "audio"))
def load_audio(ctx: Context, *, audio: str = Choice(Files("input", content=("audio", "video")), audio_upload=True)) -> Sound:
    """A sound file of the input directory, or the sound of a film."""
    return _load(ctx, ctx.services.folders.resolve(audio, "input"), audio)


@audio_node("RecordAudio", title="Record Audio")
def record_audio(ctx: Context, *, audio: Recording = Wired()) -> Sound:
    """What was recorded in the browser."""
    if not isinstance(audio, str) or not audio:
        raise BadInput("Nothing has been recorded.", hint="Press the record button of this node first.", node=ctx.node, input="audio")
    return _load(ctx, ctx.services.folders.resolve(audio, "input"), audio)


@audio_node("TrimAudioDuration", title="Trim Audio Duration")
def trim_audio_duration(
    ctx: Context,
    *,
    audio: Sound,
    start_index: float = Float(0.0, min=-HUGE, max=HUGE, step=0.01, tooltip="In seconds; below 0 counts from the end."),
    duration: float = Float(60.0, min=0.0, step=0.01, tooltip="In seconds."),
) -> Sound:
    """A part of a sound."""
    waveform, rate = sound.checked(audio)
    length = waveform.shape[-1]
    start = round(start_index * rate)
    start = min(max(0, length + start if start < 0 else start), length)
    end = min(start + round(duration * rate), length)
    if start >= end:
        text = f"The sound is {length / rate:.2f} s long; nothing is left of it from {start / rate:.2f} s for {duration:g} s."
        raise BadInput(text, hint="Begin earlier, or keep more.", node=ctx.node, input="start_index")
    return sound.audio(waveform[..., start:end], rate)


@audio_node("SplitAudioChannels", title="Split Audio Channels")
def split_audio_channels(ctx: Context, *, audio: Sound) -> Sides:
    """The two channels of a stereo sound."""
    waveform, rate = sound.checked(audio)
    if waveform.shape[1] != 2:
        raise BadInput(f"The sound has {waveform.shape[1]} channels, not two.", hint="Use a stereo sound.", node=ctx.node, input="audio")
    return Sides(sound.audio(waveform[:, :1], rate), sound.audio(waveform[:, 1:], rate))


@audio_node("AudioConcat", title="Audio Concat")
def audio_concat(ctx: Context, *, audio1: Sound, audio2: Sound, direction: str = Choice(["after", "before"], default="after")) -> Sound:
    """One sound after (or before) another."""
    first, second, rate = sound.matched(audio1, audio2)
    return sound.audio(sound.joined((first, second) if direction == "after" else (second, first)), rate)


@audio_node("AudioMerge", title="Audio Merge")
def audio_merge(
    ctx: Context,
    *,
    audio1: Sound,
    audio2: Sound,
    merge_method: str = Choice(["add", "mean", "subtract", "multiply"], tooltip="What happens to the values of the two."),
) -> Sound:
    """Two sounds over each other, as long as the first."""
    first, second, rate = sound.matched(audio1, audio2)
    return sound.audio(sound.mixed(first, second, merge_method), rate)


@audio_node("AudioAdjustVolume", title="Audio Adjust Volume")
def audio_adjust_volume(
    ctx: Context, *, audio: Sound, volume: int = Int(1, min=-100, max=100, tooltip="In decibels: 6 is twice as loud, -6 half.")
) -> Sound:
    """Louder or softer."""
    waveform, rate = sound.checked(audio)
    return sound.audio(waveform * 10 ** (volume / 20), rate)


@audio_node("EmptyAudio", title="Empty Audio")
def empty_audio(
    ctx: Context,
    *,
    duration: float = Float(60.0, min=0.0, max=HUGE, step=0.01, tooltip="In seconds."),
    sample_rate: int = Int(44100, tooltip="Values a second."),
    channels: int = Int(2, min=1, max=2),
) -> Sound:
    """Silence."""
    if not 0 <= duration <= sound.LONGEST or not 1 <= sample_rate <= 1_000_000:
        hint = f"Use at most {sound.LONGEST} s and a rate such as 44100."
        raise BadInput(f"{duration:g} s at {sample_rate} Hz cannot be made.", hint=hint, node=ctx.node, input="duration")
    return sound.audio(torch.zeros(1, channels, round(duration * sample_rate)), sample_rate)
