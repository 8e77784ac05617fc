"""wav2vec 2.0 of either make against transformers, in either spelling of its weights; sounds, and files that are something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.wav2vec.spec import load_speech_encoder
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.audio_encoder import audio_encoder_encode, audio_encoder_loader
from tests.nodes.bench import Bench


def made(large: bool) -> Any:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, conv_dim=[16, 16, 16], conv_stride=[5, 2, 2],
        conv_kernel=[10, 3, 2], num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, do_stable_layer_norm=large,
        feat_extract_norm="layer" if large else "group", conv_bias=large,
    )  # fmt: skip
    twin = Wav2Vec2Model(config).eval()
    for name, value in twin.named_parameters():
        torch.nn.init.normal_(value, 1.0 if "norm.weight" in name or "original0" in name else 0.0, 0.1)
    return twin


def written(path: Path, twin: Any, older: bool) -> Path:
    spelled = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for key, value in twin.state_dict().items():
        for new, old in spelled.items() if older else ():
            key = key.replace(new, old)
        state[f"wav2vec2.{key}" if older else key] = value.contiguous()
    save_safetensors(path, state)
    return path


@pytest.mark.parametrize("large", [True, False], ids=["large", "base"])
def test_every_layer_equals_transformers(large: bool, tmp_path: Path) -> None:
    twin = made(large)
    encoder = load_speech_encoder(written(tmp_path / "w.safetensors", twin, older=large))
    samples = torch.randn(1, 1600)
    with torch.no_grad(), Pool("cpu").lease(encoder.loadable) as net:
        said = twin(samples, output_hidden_states=True)
        # the last one through the norm at the end, as its answer is
        for found, expected in zip(net(samples), (*said.hidden_states[:-1], said.last_hidden_state), strict=True):
            assert (found - expected).abs().max() < 1e-5


def test_the_nodes(tmp_path: Path) -> None:
    bench, twin = Bench(tmp_path), made(large=True)
    folder = bench.folders.kind("audio_encoders").paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    written(folder / "w.safetensors", twin, older=True)
    encoder = audio_encoder_loader(bench.context(), audio_encoder_name="w.safetensors")
    sound = {"waveform": torch.randn(1, 2, 3200), "sample_rate": 32000}
    found = audio_encoder_encode(bench.context(), audio_encoder=encoder, audio=sound)
    assert found["audio_samples"] == 1600 and len(found["encoded_audio_all_layers"]) == 3
    assert found["encoded_audio"].shape == (1, 79, 128)
    with pytest.raises(BadInput, match=r"0\.001 seconds long"):
        audio_encoder_encode(bench.context(), audio_encoder=encoder, audio={"waveform": torch.randn(1, 1, 20), "sample_rate": 16000})


def test_files_of_something_else(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    state = {**made(large=True).state_dict(), "encoder.layer_norm.bias": torch.zeros(3)}
    save_safetensors(tmp_path / "b.safetensors", {key: value.contiguous() for key, value in state.items()})
    with pytest.raises(UnknownModel, match="no speech encoder"):
        load_speech_encoder(tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match="layer_norm"):
        load_speech_encoder(tmp_path / "b.safetensors")
