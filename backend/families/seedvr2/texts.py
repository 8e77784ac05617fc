"""The two texts that SeedVR2 was trained with, encoded once and for all by its makers: what is wanted, and what is not."""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.base.paths import Folders
from backend.weights.open import open_weights

SHIPPED = Path(__file__).with_name("data") / "positive.f16.xz"
_WIDTH = 5120
_FOLDERS = ("text_encoders", "embeddings", "diffusion_models")


def positive(weights: Mapping[str, Tensor], folders: Folders, width: int) -> Tensor | None:
    """[1, tokens, width] of the text that is wanted: from the model's file, from pos_emb.* among the files, or as it ships."""
    found = _found(weights, "positive_conditioning", folders, "pos_emb", width)
    return shipped() if found is None and width == _WIDTH else found


def negative(weights: Mapping[str, Tensor], folders: Folders, width: int) -> Tensor | None:
    """The same of what is not wanted: from the model's file or neg_emb.* among the files; None where there is none."""
    return _found(weights, "negative_conditioning", folders, "neg_emb", width)


def shipped() -> Tensor:
    """[1, 58, 5120]."""
    return torch.frombuffer(bytearray(lzma.decompress(SHIPPED.read_bytes())), dtype=torch.float16).view(1, -1, _WIDTH).float()


def _found(weights: Mapping[str, Tensor], key: str, folders: Folders, stem: str, width: int) -> Tensor | None:
    if key in weights:
        return _text(weights[key])
    for kind in _FOLDERS:
        for name in folders.list(kind):
            if Path(name).stem == stem:
                return _read(folders.find_or_raise(kind, name), width)
    return None


def _read(path: Path, width: int) -> Tensor:
    """The only tensor of a file. Raises BadFile for one that holds something else."""
    file = open_weights(path)
    shapes = [entry.shape for entry in file.values()]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 3) or shapes[0][-1] != width:
        held = ", ".join(str(list(shape)) for shape in shapes[:4]) or "nothing"
        text = f"{path.name} should hold one text of SeedVR2, {width} wide; it holds {held}."
        raise BadFile(text, hint="Fetch it again, or take it out of its folder: what is wanted comes with this program.", file=path)
    return _text(file.tensor(next(iter(file))))


def _text(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().float().reshape(1, -1, tensor.shape[-1])
