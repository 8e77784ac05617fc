"""Whisper's encoder against transformers, through the nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from backend.base.errors import BadFile
from backend.encoders.whisper.net import WhisperSizes, bands_of
from backend.weights.save import save_safetensors
from nodes.audio_encoder import audio_encoder_encode, audio_encoder_loader
from tests.nodes.bench import Bench

CONFIG = WhisperConfig(
    d_model=64, encoder_layers=2, encoder_attention_heads=1, encoder_ffn_dim=48, decoder_layers=1, decoder_attention_heads=1,
    decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=50, max_target_positions=8, vocab_size=16, pad_token_id=0, bos_token_id=0,
    eos_token_id=0, decoder_start_token_id=0,
)  # fmt: skip


def test_bands() -> None:
    sound = torch.randn(1, 20000)
    listen = WhisperFeatureExtractor(feature_size=128, chunk_length=1)
    expected = listen(sound[0].numpy().astype(np.float32), sampling_rate=16000, return_tensors="pt").input_features
    assert (bands_of(sound, WhisperSizes(places=50)) - expected).abs().max() < 1e-4


@torch.no_grad()
def test_states(tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = WhisperModel(CONFIG).eval()
    bench = Bench(tmp_path)
    folder = bench.folders.models / "audio_encoders"
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{key}": value.clone() for key, value in theirs.encoder.state_dict(prefix="encoder.").items()}
    save_safetensors(folder / "whisper.safetensors", state)
    encoder = audio_encoder_loader(bench.context(), audio_encoder_name="whisper.safetensors")
    sound = torch.randn(1, 2, 9600)
    found = audio_encoder_encode(bench.context(), audio_encoder=encoder, audio={"waveform": sound, "sample_rate": 16000})
    assert found["audio_samples"] == 9600 and len(found["encoded_audio_all_layers"]) == 3
    expected = theirs.encoder(bands_of(sound.mean(1), encoder.sizes), output_hidden_states=True)
    for mine, other in zip(found["encoded_audio_all_layers"], expected.hidden_states, strict=True):
        assert (mine - other).abs().max() < 1e-5
    faster = audio_encoder_encode(bench.context(), audio_encoder=encoder, audio={"waveform": sound, "sample_rate": 8000})
    assert faster["audio_samples"] == 19200
    save_safetensors(folder / "less.safetensors", {key: value for key, value in state.items() if "conv2" not in key})
    with pytest.raises(BadFile, match=r"incomplete \('conv2"):
        audio_encoder_loader(bench.context(), audio_encoder_name="less.safetensors")
