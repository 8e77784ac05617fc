"""A language model on a CLIP wire: a net by name, its vocabulary, and how it is read. A value; changing it gives another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.lm.makes import Make
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.reading import Reading
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.text import Encoded, Tokens
from backend.encoders.vocabularies import Source
from backend.memory.pool import Loadable, Pool
from backend.weights.patch import Patch, by_key, fingerprint

PLAIN = Reading()


@dataclass(frozen=True)
class LmHandle:
    """One language model."""

    loadable: Loadable
    """Without patches."""
    sizes: LmSizes
    make: Make
    source: Source
    branch: str
    head: Loadable | None = None
    """What makes logits, where it is not the table of embeddings."""
    reading: Reading = PLAIN
    patches: tuple[Patch, ...] = ()

    @property
    def branches(self) -> tuple[str, ...]:
        return (self.branch,)

    @property
    def title(self) -> str:
        return self.make.name

    @property
    def width(self) -> int:
        """Of one layer's hidden states."""
        return self.sizes.width

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary. Raises BadFile for one that cannot be read."""
        return self.source.tokenizer()

    def read_as(self, reading: Reading) -> LmHandle:
        """The same model, read in another way."""
        return replace(self, reading=reading)

    def with_layer(self, layer: int | None) -> LmHandle:
        """Hidden states of `layer`, counted from the end, in place of those that the family reads. Raises BadInput."""
        if layer is None or layer == -1:
            return self
        if not -self.sizes.layers <= layer < 0:
            raise BadInput(
                f"The layer to stop at is {layer}; {self.title} has {self.sizes.layers}.",
                hint=f"Use -1 (the last layer) to -{self.sizes.layers}.",
            )
        return self.read_as(replace(self.reading, layers=(layer,)))

    def with_options(self, **options: int) -> LmHandle:
        """`<branch>_min_length`: shorter texts are filled up to it."""
        least = options.get(f"{self.branch}_min_length")
        return self if least is None else self.read_as(replace(self.reading, least=least))

    def patched(self, *patches: Patch) -> LmHandle:
        """With these patches after those it has."""
        return replace(self, patches=(*self.patches, *patches))

    def leasable(self) -> Loadable:
        """What to lease: the net with the patches as deltas."""
        if not self.patches:
            return self.loadable
        return replace(self.loadable, deltas=by_key(self.patches), fingerprint=fingerprint(self.patches))

    def ids(self, text: str) -> list[int]:
        """Tokens of a text as it stands."""
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, Any]:
        """{branch: one chunk of (token, 1.0)} of the prompt in the family's template; weights in a prompt are text to a language model."""
        start = self.make.start if self.reading.start else ()
        ids = [*start, *self.ids(self.reading.told(text)), *self.reading.end]
        if self.reading.most is not None:
            ids = ids[: self.reading.most]
        return {self.branch: [[(token, 1.0, i + 1) if return_word_ids else (token, 1.0) for i, token in enumerate(ids)]]}

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The prompt as a CONDITIONING value."""
        return self.encoded(self.tokenize(text), pool).conditioning()

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor | None]:
        """(cond, None) of `encoded`."""
        return self.encoded(tokens, pool).cond, None

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """What the family's reading makes of the hidden states, float32 on the CPU. Raises BadInput."""
        chunks = tokens.get(self.branch)
        if not chunks:
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'}; this text encoder takes '{self.branch}'.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        ids = [entry[0] for chunk in chunks for entry in chunk]
        padded, there = self._padded(ids)
        states = self._run(padded, there, pool)
        drop = self.reading.dropped([token if isinstance(token, int) else -1 for token in padded])
        cond = self.reading.mix(states)[..., drop:, :]
        if cond.shape[-2] == 0:
            raise BadInput("Nothing is left of the prompt to encode.", hint="Write the prompt without the template's own marks.")
        extra = {"attention_mask": there[:, drop:].long()} if self.reading.mask else {}
        return Encoded(cond, None, extra)

    def _padded(self, ids: Sequence[Any]) -> tuple[list[Any], Tensor]:
        """Filled up to the reading's least length, and which tokens are there [1, T] bool."""
        missing = max(self.reading.least - len(ids), 0)
        fill = [self.make.pad if self.reading.pad is None else self.reading.pad] * missing
        there = torch.ones(1, len(ids) + missing, dtype=torch.bool)
        if missing and self.reading.pad_left:
            there[:, :missing] = False
            return [*fill, *ids], there
        if missing:
            there[:, -missing:] = False
        return [*ids, *fill], there

    @torch.no_grad()
    def _run(self, ids: Sequence[Any], there: Tensor, pool: Pool) -> list[Tensor]:
        """Hidden states [1, T, width] of the layers that are read, float32 on the CPU."""
        loadable = self.leasable()
        tokens, vectors = self._split(ids)
        with pool.lease(loadable, self.working(len(ids))) as leased:
            net = cast(LanguageModel, leased)
            x = net.embedded(tokens.to(pool.device), loadable.dtype)
            for at, vector in vectors:
                x[0, at] = vector.to(x)
            mask = None if bool(there.all()) else there.to(pool.device)
            states = net(x, self.reading.layers, mask=mask)
            return [state.float().cpu() for state in states]

    def _split(self, ids: Sequence[Any]) -> tuple[Tensor, list[tuple[int, Tensor]]]:
        """Token ids [1, T], and the vectors that stand in place of some. Raises BadInput."""
        row: list[int] = []
        vectors: list[tuple[int, Tensor]] = []
        for at, token in enumerate(ids):
            if isinstance(token, Tensor) and token.ndim == 1:
                if token.shape[0] != self.width:
                    raise BadInput(f"A token vector is {token.shape[0]} wide, {self.title} is {self.width} wide.")
                vectors.append((at, token))
                token = 0
            if not 0 <= int(token) < self.sizes.vocabulary:
                raise BadInput(f"Token {int(token)} is not among the {self.sizes.vocabulary} that {self.title} knows.")
            row.append(int(token))
        if not row:
            raise BadInput(f"There is nothing to encode: the prompt gives {self.title} no token.", hint="Write something into the prompt.")
        return torch.tensor([row]), vectors

    def working(self, length: int) -> int:
        """Bytes of activations at the widest point: hidden states that are kept, the perceptron's gate and product, scores of all heads."""
        s = self.sizes
        kept = (len(self.reading.layers) + 3) * s.width
        widest = max(3 * s.mlp, s.heads * (4 * s.head + length))
        return length * (kept + widest) * 4
