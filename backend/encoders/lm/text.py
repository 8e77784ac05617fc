"""A text as a language model takes it: ids, vectors in place of some, and where pictures lie among the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.vision.spec import Seen


@dataclass(frozen=True)
class Text:
    """One text."""

    tokens: Tensor
    """[1, T]; -1 where a vector stands."""
    there: Tensor
    """[1, T] bool: which are no padding."""
    vectors: tuple[tuple[int, Tensor], ...] = ()
    """(place, vectors [n, width]) in place of tokens."""
    places: Tensor | None = None
    """By time, row and column [3, 1, T], where there are pictures."""
    deep: tuple[tuple[int, tuple[Tensor, ...]], ...] = ()
    """(place, vectors [n, width] for the first layers)"""

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    @property
    def next_place(self) -> int:
        """Where a token behind the text stands."""
        return self.length if self.places is None else int(self.places.max()) + 1

    def padded(self, count: int, token: int, left: bool) -> Text:
        """With so many tokens more, which are not there."""
        ends = (count, 0) if left else (0, count)
        move = count if left else 0
        return replace(
            self,
            tokens=F.pad(self.tokens, ends, value=token),
            there=F.pad(self.there, ends, value=False),
            vectors=tuple((at + move, vector) for at, vector in self.vectors),
            places=None if self.places is None else F.pad(self.places, ends),
            deep=tuple((at + move, vectors) for at, vectors in self.deep),
        )

    def embedded(self, net: LanguageModel, dtype: torch.dtype, device: torch.device) -> Tensor:
        """[1, T, width]"""
        x = net.embedded(self.tokens.clamp(min=0).to(device), dtype)
        for at, vectors in self.vectors:
            x[0, at : at + len(vectors)] = vectors.to(x)
        return x

    def facts(self, device: torch.device) -> dict[str, Any]:
        """What the net is told beside the embeddings."""
        deep: dict[int, tuple[Tensor, Tensor]] = {}
        for layer in range(max((len(vectors) for _, vectors in self.deep), default=0)):
            where = torch.zeros_like(self.there)
            for at, vectors in self.deep:
                where[0, at : at + len(vectors[layer])] = True
            deep[layer] = (where.to(device), torch.cat([vectors[layer] for _, vectors in self.deep]))
        return {
            "mask": None if bool(self.there.all()) else self.there.to(device),
            "places": None if self.places is None else self.places.to(device),
            "deep": deep or None,
        }


def laid_out(entries: Sequence[Any], title: str, width: int, vocabulary: int) -> Text:
    """Of token ids, vectors [width] and seen pictures. Raises BadInput for what the model `title` cannot take, and for nothing."""
    row: list[int] = []
    vectors: list[tuple[int, Tensor]] = []
    pictures: list[tuple[int, Seen]] = []
    for entry in entries:
        if isinstance(entry, Seen):
            pictures.append((len(row), entry))
            vectors.append((len(row), entry.tokens))
            row += [-1] * len(entry.tokens)
        elif isinstance(entry, Tensor) and entry.ndim == 1:
            vectors.append((len(row), entry[None]))
            row.append(-1)
        elif isinstance(entry, dict):
            raise BadInput(f"This {title} cannot see: its file holds no vision tower.", hint="Use the file of a VL model.")
        elif not 0 <= int(entry) < vocabulary:
            raise BadInput(f"Token {int(entry)} is not among the {vocabulary} that {title} knows.")
        else:
            row.append(int(entry))
    if not row:
        raise BadInput(f"There is nothing to encode: the prompt gives {title} no token.", hint="Write something into the prompt.")
    wrong = next((vector for _, vector in vectors if vector.shape[1] != width), None)
    if wrong is not None:
        raise BadInput(f"A token vector is {wrong.shape[1]} wide, {title} is {width} wide.")
    tokens = torch.tensor([row])
    return Text(
        tokens,
        torch.ones_like(tokens, dtype=torch.bool),
        tuple(vectors),
        _places(len(row), pictures) if pictures else None,
        tuple((at, seen.deep) for at, seen in pictures if seen.deep),
    )


def _places(length: int, pictures: Sequence[tuple[int, Seen]]) -> Tensor:
    """[3, 1, length]: words count on; a picture's tokens share a time, and count rows and columns from there (arXiv:2409.12191, 2.1)."""
    parts: list[Tensor] = []
    now = done = 0

    def words(count: int) -> None:
        nonlocal now, done
        parts.append((torch.arange(count) + now).expand(3, -1))
        now, done = now + count, done + count

    for at, seen in pictures:
        words(at - done)
        rows, columns = torch.meshgrid(torch.arange(seen.rows), torch.arange(seen.columns), indexing="ij")
        parts.append(now + torch.stack([torch.zeros_like(rows), rows, columns]).flatten(1))
        now, done = now + max(seen.rows, seen.columns), done + seen.rows * seen.columns
    words(length - done)
    return torch.cat(parts, dim=1).unsqueeze(1)
