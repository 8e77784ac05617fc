"""What travels on a CLIP wire: a text encoder by name, its tokenizer, and how to read it. A value; changing it gives another one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.clip.net import ClipSizes
from backend.encoders.clip.tokenizer import CHUNK, ClipTokenizer
from backend.encoders.clip.vocabulary import END, START
from backend.encoders.text import Encoded, Tokens, weighted
from backend.memory.pool import Loadable, Pool
from backend.weights.patch import Patch

TITLES = {"l": "CLIP-L", "h": "OpenCLIP-H", "g": "OpenCLIP-bigG"}
"""Text encoders in words, by branch."""
AT_ONCE = 16
"""Chunks encoded in one pass."""


class Empties:
    """The encodings of the empty prompt met last; shared by all handles that came from one file."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self._kept: OrderedDict[tuple[Any, ...], Tensor] = OrderedDict()

    def get(self, key: tuple[Any, ...], make: Callable[[], Tensor]) -> Tensor:
        """The encoding under `key`, made now if it is not kept."""
        value = self._kept.pop(key, None)
        self._kept[key] = value = make() if value is None else value
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return value


@dataclass(frozen=True)
class ClipHandle:
    """One CLIP text encoder."""

    loadable: Loadable
    """Without patches."""
    sizes: ClipSizes
    tokenizer: ClipTokenizer
    branch: str = "l"
    layer: int | None = None
    """Which layer's hidden states are the encoding, from the end: None or -1 the last, -2 the one before."""
    norm: bool = True
    """Whether these go through the final norm; SDXL's do not."""
    projected: bool = True
    """Whether the pooled vector goes through the net's projection, if it has one."""
    patches: tuple[Patch, ...] = ()
    empties: Empties = field(default_factory=Empties, compare=False, repr=False)

    @property
    def branches(self) -> tuple[str, ...]:
        return (self.branch,)

    @property
    def title(self) -> str:
        return TITLES[self.branch]

    @property
    def width(self) -> int:
        return self.sizes.width

    def with_options(self, **options: int) -> ClipHandle:
        """The same: this tokenizer has no settings."""
        return self

    def with_layer(self, layer: int | None) -> ClipHandle:
        """Clip skip: read the hidden states of `layer`, -1 to -24. Layers the net does not have mean the last. Raises BadInput."""
        if layer is not None and not -24 <= layer <= -1:
            raise BadInput(f"The layer to stop at is {layer}; it is counted from the end.", hint="Use -1 (the last layer) to -24.")
        return replace(self, layer=layer)

    def patched(self, *patches: Patch) -> ClipHandle:
        """With these patches after those it has."""
        return replace(self, patches=(*self.patches, *patches))

    def leasable(self) -> Loadable:
        """What to lease: the net with the patches as deltas."""
        return self.loadable.patched(self.patches)

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, list[list[tuple[Any, ...]]]]:
        """{"l": chunks of 77 (token, weight)}, with the number of the word as a third member where asked for."""
        chunks = self.tokenizer.numbered(text)
        return {self.branch: [[entry if return_word_ids else entry[:2] for entry in chunk] for chunk in chunks]}

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The prompt as a CONDITIONING value: [[tokens [1, 77 n, width], {"pooled_output": [1, width]}]]."""
        return self.encoded(self.tokenize(text), pool).conditioning()

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor]:
        """(cond, pooled) of `encoded`."""
        encoded = self.encoded(tokens, pool)
        assert encoded.pooled is not None
        return encoded.cond, encoded.pooled

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """Hidden states of all chunks of 77 in a row [1, 77 n, width], and the pooled vector [1, width] of the first.

        A token of weight w becomes z' = (z - e) w + e, with e the encoding of the empty prompt at the same position. Raises BadInput.
        """
        chunks = tokens.get(self.branch)
        if not chunks:
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'}; this text encoder takes '{self.branch}'.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        weights = torch.tensor([[float(entry[1]) for entry in chunk] for chunk in chunks], dtype=torch.float32)
        hidden, pooled = self._run([[entry[0] for entry in chunk] for chunk in chunks], pool)
        if not bool((weights == 1.0).all()):
            hidden = weighted(hidden, self._empty(weights.shape[1], pool), weights)
        return Encoded(hidden.reshape(1, -1, hidden.shape[-1]), pooled[:1])

    def _empty(self, length: int, pool: Pool) -> Tensor:
        """The encoding [length, width] of a prompt without words."""
        tokens = [START, END, *[self.tokenizer.pad] * (length - 2)]
        loadable = self.leasable()
        key = (loadable.key, loadable.fingerprint, loadable.dtype, self.layer, self.norm, tuple(tokens))
        return self.empties.get(key, lambda: self._run([tokens], pool)[0][0])

    @torch.no_grad()
    def _run(self, chunks: Sequence[Sequence[Any]], pool: Pool) -> tuple[Tensor, Tensor]:
        """Hidden states [n, T, width] and pooled vectors [n, width] of plain chunks, float32 on the CPU."""
        ids, vectors = self._split(chunks)
        loadable = self.leasable()
        hidden, pooled = [], []
        with pool.lease(loadable, self._working(min(len(chunks), AT_ONCE), ids.shape[1])) as net:
            for start in range(0, len(chunks), AT_ONCE):
                part = ids[start : start + AT_ONCE].to(pool.device)
                here = [(chunk - start, at, vector) for chunk, at, vector in vectors if start <= chunk < start + AT_ONCE]
                h, p = net(part, loadable.dtype, here, self.layer, self.norm, self.projected)
                hidden.append(h.float().cpu())
                pooled.append(p.float().cpu())
        return torch.cat(hidden), torch.cat(pooled)

    def _split(self, chunks: Sequence[Sequence[Any]]) -> tuple[Tensor, list[tuple[int, int, Tensor]]]:
        """Token ids [n, T] and the vectors that replace some of them. Raises BadInput."""
        lengths = {len(chunk) for chunk in chunks}
        if len(lengths) != 1 or not 2 <= max(lengths) <= self.sizes.positions:
            raise BadInput(
                f"The chunks of tokens are {', '.join(str(n) for n in sorted(lengths))} long; this text encoder takes equal ones of"
                f" at most {self.sizes.positions}.",
                hint=f"The tokenizer makes chunks of {CHUNK}.",
            )
        vectors: list[tuple[int, int, Tensor]] = []
        rows: list[list[int]] = []
        for i, chunk in enumerate(chunks):
            row: list[int] = []
            for at, token in enumerate(chunk):
                if isinstance(token, Tensor) and token.dim() == 1:
                    self._fits(token)
                    vectors.append((i, at, token))
                    token = 0
                elif not 0 <= int(token) < self.sizes.vocabulary:
                    raise BadInput(f"Token {int(token)} is not in the vocabulary of {self.sizes.vocabulary} tokens.")
                row.append(int(token))
            rows.append(row)
        return torch.tensor(rows), vectors

    def _fits(self, vector: Tensor) -> None:
        if vector.shape[0] != self.sizes.width:
            raise BadInput(
                f"A token vector is {vector.shape[0]} wide, this text encoder is {self.sizes.width} wide.",
                hint="Use an embedding made for this kind of model.",
            )

    def _working(self, chunks: int, length: int) -> int:
        """Bytes of activations at the widest point: residual, q, k, v and scores, or the perceptron's inner layer twice."""
        s = self.sizes
        per_token = s.width * 6 + max(2 * s.mlp, s.heads * length * 2)
        return chunks * length * per_token * 4
