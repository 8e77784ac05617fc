"""AUDIO values: {"waveform": float tensor [B, channels, T] in -1..1, "sample_rate": Hz}. Reading, writing, and arithmetic."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput

Audio = Mapping[str, Any]

LONGEST = 6 * 3600  # seconds of one file
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_CONTAINERS = {"flac": "flac", "mp3": "mp3", "opus": "ogg"}
_CODECS = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}


def audio(waveform: Tensor, rate: int) -> dict[str, Any]:
    """The value."""
    return {"waveform": waveform, "sample_rate": rate}


def checked(value: Any, input: str = "audio") -> tuple[Tensor, int]:
    """Waveform [B, C, T] and rate of an AUDIO value. Raises BadInput."""
    waveform = value.get("waveform") if isinstance(value, Mapping) else None
    if not isinstance(waveform, Tensor) or waveform.ndim != 3 or not value.get("sample_rate"):
        raise BadInput(f"The input `{input}` holds no sound.", hint="A film without a sound track has none.", input=input)
    return waveform, int(value["sample_rate"])


def read_audio(source: Path | BinaryIO, name: str = "") -> dict[str, Any]:
    """The first sound track of a file as [1, channels, T] float32. Raises BadFile when there is none, or it cannot be read."""
    import av

    shown = name or (source.name if isinstance(source, Path) else "the file")
    try:
        with av.open(str(source) if isinstance(source, Path) else source) as container:
            if not container.streams.audio:
                raise BadFile(f"{shown} holds no sound.", hint="Use a sound file, or a film with a sound track.")
            return _decoded(container, shown)
    except av.error.FFmpegError as error:
        raise BadFile(f"{shown} cannot be read as sound: {error.strerror or error}.", hint="Convert it to FLAC, WAV or MP3.") from error


def _decoded(container: Any, shown: str) -> dict[str, Any]:
    import av

    stream = container.streams.audio[0]
    rate = stream.codec_context.sample_rate
    layout = stream.codec_context.layout
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    parts: list[Tensor] = []
    seconds = 0.0
    for frame in container.decode(stream):
        for part in resampler.resample(frame):
            parts.append(torch.from_numpy(part.to_ndarray()))
            seconds += part.samples / rate
        if seconds > LONGEST:
            raise BadFile(f"{shown} is longer than {LONGEST // 3600} hours.", hint="Cut it first.")
    parts += [torch.from_numpy(part.to_ndarray()) for part in resampler.resample(None)]
    if not parts:
        raise BadFile(f"{shown} holds a sound track without any sound.", hint="Use another file.")
    return audio(torch.cat(parts, 1).unsqueeze(0).float().contiguous(), rate)


def encode(waveform: Tensor, rate: int, format: str, quality: str = "", texts: Mapping[str, str] | None = None) -> bytes:
    """A file ("flac", "mp3", "opus") of one sound [channels, T]. `quality` "V0" or a bit rate as "128k"; `texts` become its tags."""
    import av

    if format == "opus" and rate not in OPUS_RATES:
        better = min((r for r in OPUS_RATES if r >= rate), default=OPUS_RATES[-1])
        waveform, rate = resampled(waveform, rate, better), better
    out = io.BytesIO()
    with av.open(out, "w", format=_CONTAINERS[format]) as container:
        for key, text in (texts or {}).items():
            container.metadata[key] = text
        stream: Any = container.add_stream(_CODECS[format], rate=rate, layout=layout_of(waveform))
        if format == "mp3" and quality == "V0":
            stream.codec_context.qscale = 1
        elif quality:
            stream.bit_rate = int(quality.removesuffix("k")) * 1000
        add_sound(container, stream, waveform, rate)
    return out.getvalue()


def add_sound(container: Any, stream: Any, waveform: Tensor, rate: int) -> None:
    """Encode a sound [channels, T] whole into an open stream."""
    import av

    frame = av.AudioFrame.from_ndarray(waveform.detach().cpu().float().contiguous().numpy(), format="fltp", layout=layout_of(waveform))
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    resampler = av.AudioResampler(
        format=stream.codec_context.format, layout=stream.codec_context.layout, rate=stream.codec_context.sample_rate
    )
    size = stream.codec_context.frame_size
    fifo = av.AudioFifo()
    for part in resampler.resample(frame):
        part.pts = None
        fifo.write(part)
    while (block := fifo.read(size)) is not None or (block := fifo.read(0, partial=True)) is not None:
        container.mux(stream.encode(block))
    container.mux(stream.encode(None))


def layout_of(waveform: Tensor) -> str:
    """The name of a speaker layout. Raises BadInput for counts that files have no name for."""
    names = {1: "mono", 2: "stereo", 4: "quad", 6: "5.1", 8: "7.1"}
    if waveform.shape[0] not in names:
        raise BadInput(
            f"The sound has {waveform.shape[0]} channels; files hold 1, 2, 4, 6 or 8.", hint="Split its channels.", input="audio"
        )
    return names[waveform.shape[0]]


def resampled(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """[..., T] at another rate, by a polyphase filter."""
    if rate == wanted:
        return waveform
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate)
    made = resample_poly(waveform.detach().cpu().numpy(), ratio.numerator, ratio.denominator, axis=-1)
    return torch.from_numpy(made).to(waveform.dtype)


def matched(first: Audio, second: Audio) -> tuple[Tensor, Tensor, int]:
    """Two sounds at the higher rate, with equally many channels (mono is repeated) and batch rows."""
    a, rate_a = checked(first, "audio1")
    b, rate_b = checked(second, "audio2")
    rate = max(rate_a, rate_b)
    a, b = resampled(a, rate_a, rate), resampled(b, rate_b, rate)
    channels, rows = max(a.shape[1], b.shape[1]), max(a.shape[0], b.shape[0])
    return _spread(a, rows, channels, "audio1"), _spread(b, rows, channels, "audio2"), rate


def _spread(x: Tensor, rows: int, channels: int, input: str) -> Tensor:
    if x.shape[1] not in (1, channels) or x.shape[0] not in (1, rows):
        raise BadInput(f"`{input}` has {x.shape[0]} x {x.shape[1]} channels, the other sound {rows} x {channels}.", input=input)
    return x.expand(rows, channels, -1)


def mixed(a: Tensor, b: Tensor, method: str) -> Tensor:
    """Two sounds [B, C, T] over each other, as long as the first (the other is cut, or silent to its end), and no louder than 1."""
    b = b[..., : a.shape[-1]]
    b = torch.nn.functional.pad(b, (0, a.shape[-1] - b.shape[-1]))
    made: Tensor = {"add": a + b, "mean": (a + b) / 2, "subtract": a - b, "multiply": a * b}[method]
    peak = float(made.abs().max()) if made.numel() else 0.0
    return made / peak if peak > 1 else made


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Sounds after each other."""
    return torch.cat(list(parts), -1)
