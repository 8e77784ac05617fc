"""Which speech encoder a file holds, and the vectors of sounds."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.wav2vec.net import HEAD, STRIDES, SpeechNet, SpeechSizes
from backend.media.audio import resampled
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Rename, apply
from backend.weights.open import open_weights

RATE = 16000
_PLACES = r"(?:wav2vec2\.)?encoder\.pos_conv_embed\.conv\."
RULES = (
    Rename(_PLACES + r"(?:weight_g|parametrizations\.weight\.original0)", "encoder.pos_conv_embed.conv.length"),
    Rename(_PLACES + r"(?:weight_v|parametrizations\.weight\.original1)", "encoder.pos_conv_embed.conv.direction"),
    Rename(r"(?:wav2vec2\.)?((?:feature_extractor|feature_projection|encoder)\..*)", r"\1"),
)
FEWEST = 400
"""Samples that make one vector."""


@dataclass(frozen=True)
class SpeechEncoder:
    """One speech encoder."""

    loadable: Loadable
    sizes: SpeechSizes

    @torch.no_grad()
    def states(self, waveform: Tensor, rate: int, pool: Pool) -> list[Tensor]:
        """A sound [1, channels, n] as vectors before each layer and after the last, [1, T, width], 50 a second. Raises BadInput."""
        mono = resampled(waveform[:1].float(), rate, RATE).mean(1) if rate != RATE else waveform[:1].float().mean(1)
        if mono.shape[1] < FEWEST:
            raise BadInput(
                f"The sound is {mono.shape[1] / RATE:.3f} seconds long.", hint="At least 25 milliseconds are needed.", input="audio"
            )
        samples = (mono - mono.mean()) / (mono.var() + 1e-7).sqrt()
        places = samples.shape[1]
        working = 4 * (places // STRIDES[0] * self.sizes.channels[0] * 4 + places // 320 * (self.sizes.width * 12 + self.sizes.mlp))
        with pool.lease(self.loadable, working) as net:
            found: list[Tensor] = net(samples.to(pool.device, self.loadable.dtype))
        return [state.float().cpu() for state in found]


def load_speech_encoder(path: Path | str, dtype: torch.dtype = torch.float32) -> SpeechEncoder:
    """wav2vec 2.0, base or large, in the names of transformers. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = _sizes(mapped)
        with torch.device("meta"):
            net = SpeechNet(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        reason = f": it has no {error.args[0]}" if isinstance(error, KeyError) else ""
        text = f"{file.path.name} is no speech encoder that is known{reason}."
        raise UnknownModel(
            text, hint="wav2vec 2.0 and Whisper are known, for example wav2vec2_large_english_fp16.safetensors.", file=file.path
        ) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a speech encoder whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return SpeechEncoder(Loadable(f"{identity(file)}#speech", functools.partial(SpeechNet, sizes), Views(mapped), dtype=dtype), sizes)


def _sizes(file: WeightFile) -> SpeechSizes:
    shapes = [file[f"feature_extractor.conv_layers.{i}.conv.weight"].shape for i in range(count(file, "feature_extractor.conv_layers"))]
    direction = file["encoder.pos_conv_embed.conv.direction"].shape
    return SpeechSizes(
        width=direction[0],
        layers=count(file, "encoder.layers"),
        heads=max(1, direction[0] // HEAD),
        mlp=file["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
        kernels=tuple(shape[2] for shape in shapes),
        channels=tuple(shape[0] for shape in shapes),
        reach=direction[2],
        groups=direction[0] // direction[1],
        large="feature_extractor.conv_layers.1.layer_norm.weight" in file,
    )
