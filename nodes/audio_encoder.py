"""Speech as vectors, for models that move with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch

from backend.base.errors import Problem
from backend.encoders.wav2vec.spec import RATE, SpeechEncoder, load_speech_encoder
from backend.encoders.whisper.spec import WhisperEncoder, from_file
from backend.engine.context import Context
from backend.graph.declare import Combo, node
from backend.graph.schema import Files, Socket
from backend.media.audio import checked
from backend.weights.open import open_weights
from nodes.audio import Sound
from nodes.loaders import open_named

SpeechWire = Annotated[SpeechEncoder | WhisperEncoder, Socket("AUDIO_ENCODER")]
SpeechOutput = Annotated[dict[str, Any], Socket("AUDIO_ENCODER_OUTPUT")]
MODULE = "comfy_extras.nodes_audio_encoder"


@node("AudioEncoderLoader", category="loaders", module=MODULE, form="v3", outputs=("AUDIO_ENCODER",))
def audio_encoder_loader(ctx: Context, *, audio_encoder_name: str = Combo(Files("audio_encoders"))) -> SpeechWire:
    """Load wav2vec 2.0 (base or large) or Whisper: place its file into models/audio_encoders."""
    dtype = ctx.services.device.compute_dtype("text_encoder", ctx.services.settings)
    return open_named(ctx, "audio_encoder_name", "audio_encoders", audio_encoder_name, lambda path: _loaded(path, dtype))


def _loaded(path: Path, dtype: torch.dtype) -> SpeechEncoder | WhisperEncoder:
    return from_file(open_weights(path), dtype) or load_speech_encoder(path, dtype)


@node("AudioEncoderEncode", category="conditioning", module=MODULE, form="v3", outputs=("AUDIO_ENCODER_OUTPUT",))
def audio_encoder_encode(ctx: Context, *, audio_encoder: SpeechWire, audio: Sound) -> SpeechOutput:
    """Encode a sound: 50 vectors a second, from every layer."""
    try:
        waveform, rate = checked(audio, "audio")
        states = audio_encoder.states(waveform, rate, ctx.services.pool)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__
    return {"encoded_audio": states[-1], "encoded_audio_all_layers": states, "audio_samples": round(waveform.shape[2] * RATE / rate)}
