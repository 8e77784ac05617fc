"""What every text encoder does, whatever its make: tokens by branch in, hidden states out. Makes are found by listing this folder.

A make is a package here whose `spec` has `text_encoders(found: Found) -> Sequence[TextEncoder]`: all encoders of its kind that a file
holds, told by names and shapes alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

import backend.encoders
from backend.base.paths import Folders
from backend.memory.pool import Loadable, Pool
from backend.weights.file import WeightFile
from backend.weights.patch import Patch

Chunk = Sequence[Sequence[Any]]
"""(token, weight) or (token, weight, word number), in order; a token is an id or a vector [width]."""
Tokens = Mapping[str, Sequence[Chunk]]
"""Chunks by branch: "l" for CLIP-L, "t5xxl" for T5 v1.1 XXL ..., the names that packs know."""


@dataclass(frozen=True)
class Encoded:
    """A prompt as an encoder understands it, float32 on the CPU."""

    cond: Tensor
    """[1, tokens, width]"""
    pooled: Tensor | None = None
    """[1, width of the pooled vector]; None for encoders that have none."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further values of the conditioning, by the names that families ask for ("attention_mask" [1, tokens] ...)."""

    def conditioning(self) -> list[list[Any]]:
        """As a CONDITIONING value."""
        return [[self.cond, {"pooled_output": self.pooled, **self.extra}]]


class TextEncoder(Protocol):
    """One text encoder, or several that are heard together: what travels on a CLIP wire. A value."""

    @property
    def branches(self) -> tuple[str, ...]:
        """Keys of its tokens."""
        ...

    @property
    def loadable(self) -> Any: ...

    def with_layer(self, layer: int | None) -> Self: ...
    def with_options(self, **options: int) -> Self:
        """With other settings of its tokenizers, for those that have them: "t5xxl_min_length" and such."""
        ...

    def patched(self, *patches: Patch) -> Self: ...
    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, Any]: ...
    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded: ...
    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor | None]: ...
    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]: ...


class SingleEncoder(TextEncoder, Protocol):
    """One encoder with weights of its own."""

    @property
    def branch(self) -> str: ...
    @property
    def title(self) -> str:
        """In words, for messages."""
        ...

    @property
    def width(self) -> int:
        """Of its hidden states."""
        ...

    @property
    def loadable(self) -> Loadable: ...


@dataclass(frozen=True)
class Found:
    """A file that may hold text encoders, and what is known around it."""

    file: WeightFile
    key: str
    """Identity for the pool; an encoder that is not the only one adds to it."""
    dtype: torch.dtype
    folders: Folders | None = None
    """Where `embedding:name` is looked up."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What a configuration beside the weights says; empty where there is none."""
    tokenizer: Path | None = None
    """The folder with the vocabulary in a model's folder, where there is one."""


Make = Callable[[Found], Sequence[SingleEncoder]]


@functools.cache
def makes() -> tuple[Make, ...]:
    """How each make of text encoder finds its own, in order of the makes' names."""
    found: list[Make] = []
    for module in sorted(pkgutil.iter_modules(backend.encoders.__path__), key=lambda m: m.name):
        name = f"backend.encoders.{module.name}.spec"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            make = getattr(importlib.import_module(name), "text_encoders", None)
            if make is not None:
                found.append(make)
    return tuple(found)


def text_encoders(found: Found) -> list[SingleEncoder]:
    """Every text encoder in a file, of whatever make. Reads no weight. Raises BadFile for one that is incomplete."""
    return [encoder for make in makes() for encoder in make(found)]


def weighted(hidden: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """Hidden states [n, T, width] with the tokens' weights [n, T] taken from the empty prompt's [T, width]: z' = (z - e) w + e."""
    w = weights.unsqueeze(-1)
    return torch.where(w == 1.0, hidden, (hidden - empty) * w + empty)
