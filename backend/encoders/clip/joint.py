"""Several text encoders that read the same prompt and are heard together, as one value on a CLIP wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.clip.handle import ClipHandle, Tokens
from backend.memory.pool import Pool
from backend.weights.patch import Patch


class Joined(Mapping[str, Tensor]):
    """The weights of all parts under one roof: `clip_<branch>.` before each name."""

    def __init__(self, parts: tuple[ClipHandle, ...]) -> None:
        self.parts = {f"clip_{part.branch}": part.loadable.source for part in parts}

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


@dataclass(frozen=True)
class JointClip:
    """SDXL's pair (Podell et al. 2023, section 2.1): the hidden states of L and bigG side by side, the pooled vector of bigG."""

    parts: tuple[ClipHandle, ...]
    """In the order their widths are joined; the pooled vector is the last one's."""

    @classmethod
    def sdxl(cls, l: ClipHandle, g: ClipHandle) -> JointClip:
        """Both read at the last layer but one, without the final norm."""
        return cls((replace(l, layer=-2, norm=False), replace(g, layer=-2, norm=False)))

    @property
    def branches(self) -> tuple[str, ...]:
        """ "l", "g": the keys of its tokens."""
        return tuple(part.branch for part in self.parts)

    @property
    def loadable(self) -> Sources:
        """The weights of all parts, named `clip_l.<name>`, `clip_g.<name>`."""
        return Sources(Joined(self.parts))

    def with_layer(self, layer: int | None) -> JointClip:
        """Clip skip in every part. Raises BadInput."""
        return replace(self, parts=tuple(part.with_layer(layer) for part in self.parts))

    def patched(self, *patches: Patch) -> JointClip:
        """With these patches, whose keys carry the prefix of their part."""
        roofs: dict[str, list[Patch]] = {}
        for patch in patches:
            roof, _, name = patch.key.partition(".")
            roofs.setdefault(roof, []).append(replace(patch, key=name))
        return replace(self, parts=tuple(part.patched(*roofs.get(f"clip_{part.branch}", ())) for part in self.parts))

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, list[list[tuple[Any, ...]]]]:
        """Chunks of 77 for each branch, as every encoder has its own padding and embeddings."""
        tokens: dict[str, list[list[tuple[Any, ...]]]] = {}
        for part in self.parts:
            tokens |= part.tokenize(text, return_word_ids)
        return tokens

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The prompt as a CONDITIONING value: [[tokens [1, 77 n, sum of widths], {"pooled_output": [1, width]}]]."""
        cond, pooled = self.encode(self.tokenize(text), pool)
        return [[cond, {"pooled_output": pooled}]]

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor]:
        """As `ClipHandle.encode`, cut to the shortest of the branches. Raises BadInput where the tokens of a branch are missing."""
        missing = [branch for branch in self.branches if not tokens.get(branch)]
        if missing:
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'};"
                f" this pair of text encoders takes {' and '.join(self.branches)}.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        encoded = [part.encode(tokens, pool) for part in self.parts]
        length = min(cond.shape[1] for cond, _ in encoded)
        return torch.cat([cond[:, :length] for cond, _ in encoded], dim=-1), encoded[-1][1]
