"""Which Whisper a file holds, and the vectors of sounds."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.encoders.whisper.net import RATE, WhisperNet, WhisperSizes, bands_of
from backend.media.audio import resampled
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Renamed, Views, WeightFile, identity

PREFIXES = ("model.encoder.", "encoder.", "")
MARK = "embed_positions.weight"
_HEAD = 64


@dataclass(frozen=True)
class WhisperEncoder:
    """The encoder of one Whisper."""

    loadable: Loadable
    sizes: WhisperSizes

    @torch.no_grad()
    def states(self, waveform: Tensor, rate: int, pool: Pool) -> list[Tensor]:
        """A sound [1, channels, n] as vectors before each layer and after the last, [1, places, width], 50 a second: of thirty seconds, and
        what is longer is cut. Raises BadInput for no sound."""
        mono = waveform[:1].float().mean(1)
        mono = resampled(mono.unsqueeze(1), rate, RATE).mean(1) if rate != RATE else mono
        if not mono.shape[1]:
            raise BadInput("The sound has no length.", hint="Load another one.", input="audio")
        bands = bands_of(mono, self.sizes)
        working = 4 * self.sizes.places * (12 * self.sizes.width + self.sizes.mlp)
        with pool.lease(self.loadable, working) as net:
            found: list[Tensor] = net(bands.to(pool.device, self.loadable.dtype))
        return [state.float().cpu() for state in found]


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> WhisperEncoder | None:
    """The Whisper in a file, with or without its decoder, in the names of transformers; None where it holds none. Raises BadFile."""
    prefix = next((p for p in PREFIXES if p + MARK in file and f"{p}layers.0.self_attn.q_proj.weight" in file), None)
    if prefix is None:
        return None
    named = Renamed(file, {key.removeprefix(prefix): key for key in file if key.startswith(prefix)})
    try:
        sizes = _sizes(named)
        with torch.device("meta"):
            net = WhisperNet(sizes)
        odd = next((name for name, p in net.named_parameters() if named[name].shape != tuple(p.shape)), None)
    except MALFORMED as error:
        text = f"{file.path.name} holds a Whisper whose weights are incomplete ({error})."
        raise BadFile(text, hint="Fetch it again.", file=file.path) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a Whisper whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return WhisperEncoder(Loadable(f"{identity(file)}#whisper", functools.partial(WhisperNet, sizes), Views(named), dtype=dtype), sizes)


def _sizes(file: WeightFile) -> WhisperSizes:
    width, bands = file["conv1.weight"].shape[:2]
    return WhisperSizes(
        width=width,
        layers=count(file, "layers"),
        heads=max(1, width // _HEAD),
        mlp=file["layers.0.fc1.weight"].shape[0],
        bands=bands,
        places=file[MARK].shape[0],
    )
