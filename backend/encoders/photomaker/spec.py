"""Whether a file holds PhotoMaker, and prompts about a person in pictures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.clip.vocabulary import END
from backend.encoders.clip_vision.handle import prepared
from backend.encoders.clip_vision.net import VisionSizes
from backend.encoders.clip_vision.spec import sizes_of
from backend.encoders.photomaker.net import PhotoMakerNet
from backend.memory.pool import Loadable, Pool
from backend.weights.file import Views, identity
from backend.weights.keymap import MappedNames, Rename, apply
from backend.weights.open import open_weights

RULES = (Rename(r"(?:id_encoder\.)?((?:vision_model|visual_projection|visual_projection_2|fuse_module)\..*)", r"\1"),)
TRIGGER = "photomaker"
"""The word of a prompt that says that the one before it is the person."""


@dataclass(frozen=True)
class PhotoMaker:
    """One PhotoMaker."""

    loadable: Loadable
    sizes: VisionSizes
    width: int
    """Of the words it changes."""

    @torch.no_grad()
    def conditioning(self, clip: Any, image: Tensor, text: str, pool: Pool) -> list[list[Any]] | None:
        """The prompt about the person in `image` [N, H, W, 3]: the word before the trigger stands for all pictures, as often as there are.

        None where the trigger is missing or comes first. Raises BadInput for a text encoder of another width.
        """
        tokens = clip.tokenize(text)
        trigger = {branch: _words(chunks[0]) for branch, chunks in clip.tokenize(TRIGGER).items()}
        found = None
        stacked: dict[str, Any] = {}
        for branch, chunks in tokens.items():
            place = _find(chunks, trigger[branch])
            if place is None:
                return None
            chunk, at = place
            stacked[branch] = [_stacked(c, at, len(trigger[branch]), len(image)) if i == chunk else c for i, c in enumerate(chunks)]
            found = chunk * len(chunks[chunk]) + at - 1
        assert found is not None
        encoded = clip.encoded(stacked, pool)
        if encoded.cond.shape[-1] != self.width:
            text = f"The prompt's words are {encoded.cond.shape[-1]} wide; this PhotoMaker changes words {self.width} wide."
            raise BadInput(text, hint="PhotoMaker goes with Stable Diffusion XL and both of its text encoders.", input="clip")
        cond = encoded.cond.clone()
        cond[0, found : found + len(image)] = self._fused(image, cond[0, found : found + len(image)], pool)
        return [[cond, {"pooled_output": encoded.pooled, **encoded.extra}]]

    def _fused(self, image: Tensor, words: Tensor, pool: Pool) -> Tensor:
        pixels = prepared(image, self.sizes.side)
        s = self.sizes
        working = len(pixels) * s.positions * (s.width * 6 + max(2 * s.mlp, s.heads * s.positions * 2)) * 4
        with pool.lease(self.loadable, working) as net:
            fused: Tensor = net(*(x.to(pool.device, self.loadable.dtype) for x in (pixels, words)))
        return fused.float().cpu()


def _words(chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The tokens of a chunk between its start and its end."""
    ids = [entry[0] for entry in chunk[1:]]
    return ids[: ids.index(END)]


def _find(chunks: Sequence[Sequence[tuple[Any, ...]]], trigger: Sequence[Any]) -> tuple[int, int] | None:
    """(chunk, place) of the first trigger that follows a word."""
    for number, chunk in enumerate(chunks):
        ids = [entry[0] if isinstance(entry[0], int) else None for entry in chunk]
        for at in range(2, len(ids) - len(trigger) + 1):
            if ids[at : at + len(trigger)] == list(trigger):
                return number, at
    return None


def _stacked(chunk: Sequence[tuple[Any, ...]], at: int, length: int, times: int) -> list[tuple[Any, ...]]:
    """The chunk without the trigger, and with the word before it as often as there are pictures; as long as before, what is over is cut."""
    left = [*chunk[: at - 1], *[chunk[at - 1]] * times, *chunk[at + length :]]
    end = chunk[-1]
    return [*left, *[end] * (len(chunk) - len(left))] if len(left) <= len(chunk) else [*left[: len(chunk) - 1], end]


def load_photomaker(path: Path | str, dtype: torch.dtype = torch.float32) -> PhotoMaker:
    """PhotoMaker, version 1, in the authors' names. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = sizes_of(mapped, openclip=False)
        if sizes.projection is None:
            raise KeyError("visual_projection.weight")
        second = mapped["visual_projection_2.weight"].shape[0]
        with torch.device("meta"):
            net = PhotoMakerNet(sizes, second)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        text = f"{file.path.name} is no PhotoMaker that is known: it has no {error.args[0]}."
        raise UnknownModel(text, hint="Version 1 is known: photomaker-v1.bin.", file=file.path) from error
    if odd is not None:
        text = f"{file.path.name} is a PhotoMaker whose {odd} has an unexpected shape."
        raise BadFile(text, hint="It is damaged, or of version 2, which needs a face recogniser besides.", file=file.path)
    make = functools.partial(PhotoMakerNet, sizes, second)
    return PhotoMaker(Loadable(f"{identity(file)}#photomaker", make, Views(mapped), dtype=dtype), sizes, sizes.projection + second)
