"""Several text encoders that read the same prompt and are heard together, as one value on a CLIP wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.text import Encoded, SingleEncoder, Tokens
from backend.memory.pool import Pool
from backend.weights.patch import Patch

Mix = Callable[[Mapping[str, Encoded]], Encoded]
"""What each branch understood -> what the model is told."""


class Joined(Mapping[str, Tensor]):
    """The weights of all parts under one roof each."""

    def __init__(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.parts = parts

    def __getitem__(self, key: str) -> Tensor:
        roof, _, name = key.partition(".")
        return self.parts[roof][name]

    def __contains__(self, key: object) -> bool:
        roof, _, name = str(key).partition(".")
        return roof in self.parts and name in self.parts[roof]

    def __iter__(self) -> Iterator[str]:
        return (f"{roof}.{name}" for roof, source in self.parts.items() for name in source)

    def __len__(self) -> int:
        return sum(len(source) for source in self.parts.values())


@dataclass(frozen=True)
class Sources:
    """What patches are matched against; nothing that could be leased."""

    source: Mapping[str, Tensor]


def roof(branch: str) -> str:
    """What stands before the names of a branch's weights."""
    return f"clip_{branch}"


def published(branch: str) -> str:
    """A branch as files and packs call it: `clip_l`, `clip_g`, `t5xxl` ..."""
    return roof(branch) if len(branch) == 1 else branch


def side_by_side(parts: Mapping[str, Encoded]) -> Encoded:
    """Widths joined in the order of the parts, cut to the shortest; the last one's pooled vector (Podell et al. 2023, section 2.1)."""
    encoded = list(parts.values())
    length = min(part.cond.shape[1] for part in encoded)
    return Encoded(torch.cat([part.cond[:, :length] for part in encoded], dim=-1), encoded[-1].pooled)


@dataclass(frozen=True)
class JointText:
    """Encoders, and how what they understand is put together."""

    parts: tuple[SingleEncoder, ...]
    mix: Mix = side_by_side
    optional: bool = False
    """Whether encoders that are given no tokens are left out."""

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(part.branch for part in self.parts)

    @property
    def loadable(self) -> Sources:
        """The weights of all parts, named `clip_l.<name>`, `clip_t5xxl.<name>` ..."""
        return Sources(Joined({roof(part.branch): part.loadable.source for part in self.parts}))

    def with_layer(self, layer: int | None) -> JointText:
        """Clip skip in every part. Raises BadInput."""
        return replace(self, parts=tuple(part.with_layer(layer) for part in self.parts))

    def with_options(self, **options: int) -> JointText:
        return replace(self, parts=tuple(part.with_options(**options) for part in self.parts))

    def patched(self, *patches: Patch) -> JointText:
        """With these patches, whose keys carry the roof of their part."""
        by_roof: dict[str, list[Patch]] = {}
        for patch in patches:
            above, _, name = patch.key.partition(".")
            by_roof.setdefault(above, []).append(replace(patch, key=name))
        return replace(self, parts=tuple(part.patched(*by_roof.get(roof(part.branch), ())) for part in self.parts))

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, Any]:
        """Chunks for each branch, as every encoder has its own vocabulary, padding and embeddings."""
        tokens: dict[str, Any] = {}
        for part in self.parts:
            tokens |= part.tokenize(text, return_word_ids)
        return tokens

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The prompt as a CONDITIONING value."""
        return self.encoded(self.tokenize(text), pool).conditioning()

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor | None]:
        """(cond, pooled) of `encoded`."""
        encoded = self.encoded(tokens, pool)
        return encoded.cond, encoded.pooled

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """What `mix` makes of the parts. Raises BadInput where the tokens of a branch are missing."""
        missing = [branch for branch in self.branches if not tokens.get(branch)]
        if any(branch not in tokens or not self.optional for branch in missing):
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'}; these text encoders take {' and '.join(self.branches)}.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        return self.mix({part.branch: part.encoded(tokens, pool) for part in self.parts if part.branch not in missing})
