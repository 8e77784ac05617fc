"""Model patches: files with weights of their own that change what a net does inside. Kinds are the modules here, found by listing."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.families.foreign import name_of
from backend.families.load import Services
from backend.memory.pool import Pool
from backend.weights.detect import MALFORMED, sample_of
from backend.weights.file import WeightFile, stored_in
from backend.weights.open import open_weights


class ModelPatch(Protocol):
    """What travels on a MODEL_PATCH wire."""

    @property
    def title(self) -> str:
        """In words, with what it is for."""
        ...


Read = Callable[[WeightFile, torch.dtype], ModelPatch | None]
"""What a module here offers as `read`: the patch in a file, or None where it is of another kind."""


class PicturePatch(ModelPatch, Protocol):
    """A patch that steers by a picture."""

    def steered(self, model: ModelHandle, picture: Picture) -> ModelHandle:
        """The model, steered. Raises BadInput for a model of another kind."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """What a patch is shown."""

    vae: Any
    """None for patches that look at pixels."""
    image: Tensor | None
    """[B, H, W, C] in 0..1."""
    strength: float
    mask: Tensor | None = None
    """[B, H, W], 1 where the picture has a hole."""
    beneath: Tensor | None = None
    """A picture to paint into [B, H, W, C]."""
    start: float = 0.0
    """The part of sampling that is steered, from 0 to 1, for patches that can stop."""
    end: float = 1.0


@dataclass(frozen=True, eq=False)
class Shown:
    """A patch with its picture, among the taps of a model."""

    patch: Any
    """With its net as `loadable`."""
    picture: Picture
    bound: Callable[[Shown, Any, ModelHandle, Pool], Any]
    """(this, the patch's net, the model, the pool) -> the tap for the length of one sampling."""

    @contextmanager
    def bind(self, model: ModelHandle, pool: Pool) -> Iterator[Any]:
        with pool.lease(self.patch.loadable) as net:
            yield self.bound(self, net, model, pool)


def load_patch(path: Path | str, services: Services) -> ModelPatch:
    """The model patch of a file. Only the header is read. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    dtype = services.device.compute_dtype("unet", services.settings, stored_in(file))
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        read: Read | None = getattr(importlib.import_module(f"{__name__}.{module.name}"), "read", None)
        try:
            found: ModelPatch | None = read(file, dtype) if read is not None else None
        except MALFORMED as error:
            text = f"{file.path.name} looks like a model patch, but its weights contradict each other ({error})."
            raise BadFile(text, hint="The file is incomplete or damaged: fetch it again.", file=file.path) from error
        if found is not None:
            return found
    known = name_of(file)
    what = f"is {known.what}, not a model patch" if known else f"holds no known model patch: its tensors are named {sample_of(file)}"
    raise UnknownModel(f"{file.path.name} {what}.", hint="Choose a file made for the folder model_patches.", file=file.path)


def steered(patch: Any, model: ModelHandle, picture: Picture) -> ModelHandle:
    """The model steered by a patch. Raises BadInput for a patch that is shown no picture."""
    if not hasattr(patch, "steered"):
        raise BadInput(f"{patch.title} is not steered by a control picture.", hint="Use the node for its kind.", input="model_patch")
    made: ModelHandle = patch.steered(model, picture)
    return made
