"""A T5 encoder on a CLIP wire: its tokens, their padding, and what it makes of them. A value; changing it gives another one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.clip.handle import Empties
from backend.encoders.clip.prompt import parse, split_embeddings
from backend.encoders.clip.tokenizer import Lookup
from backend.encoders.t5.net import T5Sizes
from backend.encoders.text import Encoded, Tokens, weighted
from backend.encoders.vocabularies import Source
from backend.memory.pool import Loadable, Pool
from backend.weights.patch import Patch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class T5Handle:
    """One encoder. `min_length`, `masked` and `zeroed` are what the models that read it were trained with; their family sets them."""

    loadable: Loadable
    """Without patches."""
    sizes: T5Sizes
    branch: str
    title: str
    vocabulary: Callable[[], Source]
    """Looked for at the first prompt."""
    end: int = 1
    pad: int = 0
    trims: bool = True
    """Whether blanks at the ends of a stretch of text are dropped, as SentencePiece does unless it is told not to."""
    min_length: int = 1
    """Shorter prompts are padded up to this many tokens."""
    min_padding: int = 0
    """Tokens of padding after every prompt."""
    masked: bool = False
    """Whether tokens do not look at padding."""
    zeroed: bool = False
    """Whether what becomes of padding is set to zero; else, where it is masked, the mask goes with the conditioning."""
    layer: int | None = None
    lookup: Lookup | None = None
    """How `embedding:name` is found; without it the syntax is plain text."""
    patches: tuple[Patch, ...] = ()
    empties: Empties = field(default_factory=Empties, compare=False, repr=False)

    @property
    def branches(self) -> tuple[str, ...]:
        return (self.branch,)

    @property
    def width(self) -> int:
        return self.sizes.width

    def with_layer(self, layer: int | None) -> T5Handle:
        """Read the hidden states of `layer` from the end; layers the net does not have mean the last."""
        return replace(self, layer=layer)

    def with_options(self, **options: int) -> T5Handle:
        """`<branch>_min_length` and `<branch>_min_padding`; settings of other encoders are left alone."""
        return replace(
            self,
            min_length=options.get(f"{self.branch}_min_length", self.min_length),
            min_padding=options.get(f"{self.branch}_min_padding", self.min_padding),
        )

    def patched(self, *patches: Patch) -> T5Handle:
        """With these patches after those it has."""
        return replace(self, patches=(*self.patches, *patches))

    def leasable(self) -> Loadable:
        """What to lease: the net with the patches as deltas."""
        return self.loadable.patched(self.patches)

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, list[list[tuple[Any, ...]]]]:
        """{branch: [(token, weight) ...]}, one row for the whole prompt. Stretches of one weight are cut into tokens each on its own;
        each is a word. Raises MissingFile or BadFile where there is no vocabulary."""
        row: list[tuple[Any, ...]] = []
        for number, (tokens, weight) in enumerate(self._stretches(text), 1):
            row += [(token, weight, number) for token in tokens]
        row.append((self.end, 1.0, 0))
        row += [(self.pad, 1.0, 0)] * max(self.min_padding, self.min_length - len(row))
        return {self.branch: [[entry if return_word_ids else entry[:2] for entry in row]]}

    def _stretches(self, text: str) -> Iterator[tuple[Sequence[int | Tensor], float]]:
        """Tokens and their weight, in order."""
        tokenizer = self.vocabulary().tokenizer()
        for span in parse(text):
            for is_name, part in split_embeddings(span.text) if self.lookup else [(False, span.text)]:
                vectors = self.lookup(part) if is_name and self.lookup is not None else None
                if is_name and vectors is None:
                    log.warning("There is no embedding named '%s' in the embeddings folder; it was left out of the prompt.", part)
                elif vectors is not None:
                    yield list(vectors), span.weight
                else:
                    yield tokenizer.encode(part.strip() if self.trims else part, add_special_tokens=False).ids, span.weight

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The prompt as a CONDITIONING value: [[tokens [1, n, width], {"pooled_output": None}]]."""
        return self.encoded(self.tokenize(text), pool).conditioning()

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, None]:
        """(cond, None) of `encoded`: this encoder has no pooled vector."""
        return self.encoded(tokens, pool).cond, None

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """Hidden states [1, n, width] of all rows one after the other, and "attention_mask" [1, n] where padding is masked and kept.

        A token of weight w becomes z' = (z - e) w + e, with e the encoding of the empty prompt at the same position. Raises BadInput.
        """
        rows = tokens.get(self.branch)
        if not rows:
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'}; this text encoder takes '{self.branch}'.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        longest = max(len(row) for row in rows)
        padded = [[*row, *[(self.pad, 1.0)] * (longest - len(row))] for row in rows]
        hidden, real = self._run([[entry[0] for entry in row] for row in padded], pool)
        weights = torch.tensor([[float(entry[1]) for entry in row] for row in padded], dtype=torch.float32)
        if not bool((weights == 1.0).all()):
            hidden = weighted(hidden, self._empty(longest, pool), weights)
        if self.zeroed:
            hidden = hidden * real.unsqueeze(-1)
        extra = {"attention_mask": real.reshape(1, -1).long()} if self.masked and not self.zeroed else {}
        return Encoded(hidden.reshape(1, -1, hidden.shape[-1]), None, extra)

    def _empty(self, length: int, pool: Pool) -> Tensor:
        """The encoding [length, width] of a prompt without words."""
        loadable = self.leasable()
        key = (loadable.key, loadable.fingerprint, loadable.dtype, self.layer, self.masked, self.end, self.pad, length)
        return self.empties.get(key, lambda: self._run([[self.end, *[self.pad] * (length - 1)]], pool)[0][0])

    @torch.no_grad()
    def _run(self, rows: Sequence[Sequence[Any]], pool: Pool) -> tuple[Tensor, Tensor]:
        """Hidden states [n, T, width], float32 on the CPU, and which tokens are no padding [n, T]."""
        ids, vectors = self._split(rows)
        ends = (ids == self.end).long().cumsum(1)
        real = (ends - (ids == self.end).long()) == 0  # up to the first end
        loadable = self.leasable()
        layer = -1 if self.layer is None or not -self.sizes.layers <= self.layer < 0 else self.layer
        with pool.lease(loadable, self._working(*ids.shape)) as net:
            mask = real.to(pool.device) if self.masked else None
            return net(ids.to(pool.device), loadable.dtype, vectors, mask, layer).float().cpu(), real

    def _split(self, rows: Sequence[Sequence[Any]]) -> tuple[Tensor, list[tuple[int, int, Tensor]]]:
        """Token ids [n, T] and the vectors that replace some of them. Raises BadInput."""
        vectors: list[tuple[int, int, Tensor]] = []
        ids: list[list[int]] = []
        for i, row in enumerate(rows):
            ids.append([])
            for at, token in enumerate(row):
                if isinstance(token, Tensor):
                    if token.shape != (self.sizes.width,):
                        raise BadInput(
                            f"A token vector has the shape {list(token.shape)}, this text encoder is {self.sizes.width} wide.",
                            hint="Use an embedding made for this kind of model.",
                        )
                    vectors.append((i, at, token))
                    token = self.pad
                elif not 0 <= int(token) < self.sizes.vocabulary:
                    raise BadInput(f"Token {int(token)} is not in the vocabulary of {self.sizes.vocabulary} tokens.")
                ids[-1].append(int(token))
        return torch.tensor(ids), vectors

    def _working(self, rows: int, length: int) -> int:
        """Bytes of activations at the widest point: residual, q, k, v, scores with their bias, or the perceptron's inner layer."""
        s = self.sizes
        return rows * length * (2 * s.width + max(4 * s.heads * s.head_width + 3 * s.heads * length, 3 * s.mlp)) * 4
