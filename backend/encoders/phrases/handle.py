"""Phrases for things to be found, as a CLIP wire carries their encoder: `eye:2, window panels` are two phrases, with how many of each."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.clip.net import ClipSizes
from backend.encoders.clip.tokenizer import plain_words
from backend.encoders.clip.vocabulary import END, START
from backend.encoders.text import Encoded, Tokens
from backend.memory.pool import Loadable, Pool
from backend.weights.patch import Patch

log = logging.getLogger(__name__)

BRANCH = "sam3"
MOST, PHRASE_TOKENS = "max_detections", "phrase_tokens"
"""Values of the conditioning: how many things each phrase asks for, and how many tokens each has."""
COUNTED = re.compile(r"(.*\S)\s*:\s*(\d+(?:\.\d*)?|\.\d+)")
MANY = 1000
"""No phrase asks for more than so many things."""
AT_ONCE = 16
"""Phrases encoded in one pass."""


def phrases(text: str) -> list[tuple[str, int]]:
    """What stands between commas, and how many of it are asked for: the number behind a colon, else one.

    Parentheses, which weigh words for other models, are left out. An empty text asks for nothing.
    """
    found = []
    for part in (part.strip() for part in re.sub(r"[()]", "", text).split(",")):
        counted = COUNTED.fullmatch(part)
        if counted:
            found.append((counted[1], max(1, round(min(MANY, float(counted[2]))))))
        elif part:
            found.append((part, 1))
    return found


@dataclass(frozen=True)
class PhraseHandle:
    """SAM 3's text encoder. A value; changing it gives another one."""

    loadable: Loadable
    """Without patches."""
    sizes: ClipSizes
    patches: tuple[Patch, ...] = ()

    branch = BRANCH
    branches = (BRANCH,)
    title = "SAM 3's text encoder"

    @property
    def width(self) -> int:
        return self.sizes.width

    def with_layer(self, layer: int | None) -> PhraseHandle:
        """The same: only its last layer was taught to be read."""
        return self

    def with_options(self, **options: int) -> PhraseHandle:
        """The same: its tokenizer has no settings."""
        return self

    def patched(self, *patches: Patch) -> PhraseHandle:
        """With these patches after those it has."""
        return replace(self, patches=(*self.patches, *patches))

    def leasable(self) -> Loadable:
        """What to lease: the net with the patches as deltas."""
        return self.loadable.patched(self.patches)

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, list[list[tuple[Any, ...]]]]:
        """A chunk for each phrase, at least one: (token, how many of the phrase are asked for), with the number of the word as a third
        member where asked for. A phrase that is too long is cut."""
        chunks = [self._chunk(*phrase) for phrase in phrases(text) or [("", 0)]]
        return {BRANCH: [[entry if return_word_ids else entry[:2] for entry in chunk] for chunk in chunks]}

    def _chunk(self, phrase: str, most: int) -> list[tuple[int, float, int]]:
        room = self.sizes.positions - 2
        words = [(token, number) for number, word in enumerate(plain_words(phrase), start=1) for token in word]
        if len(words) > room:
            log.warning("The phrase '%.60s ...' has %d tokens; SAM 3 reads the first %d.", phrase, len(words), room)
        body = [(START, 0), *words[:room], (END, 0)]
        body += [(0, 0)] * (self.sizes.positions - len(body))
        return [(token, float(most), number) for token, number in body]

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The phrases as a CONDITIONING value."""
        return self.encoded(self.tokenize(text), pool).conditioning()

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor | None]:
        """(cond, None) of `encoded`."""
        return self.encoded(tokens, pool).cond, None

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """Hidden states of all phrases in a row [1, n T, width]; beside them "attention_mask" [1, n T] of what is no padding,
        "phrase_tokens" T, and "max_detections" (n numbers). Raises BadInput."""
        chunks = tokens.get(BRANCH)
        if not chunks:
            text = f"These tokens are for {', '.join(tokens) or 'no text encoder'}; SAM 3's text encoder takes '{BRANCH}'."
            raise BadInput(text, hint="Tokenize the text with the same CLIP that encodes it.")
        lengths = {len(chunk) for chunk in chunks}
        if len(lengths) != 1 or not 2 <= max(lengths) <= self.sizes.positions:
            told = ", ".join(str(n) for n in sorted(lengths))
            text = f"The phrases are {told} tokens long; SAM 3 takes equal ones of at most {self.sizes.positions}."
            raise BadInput(text, hint="Its own tokenizer makes them so.")
        ids = torch.tensor([[self._id(entry[0]) for entry in chunk] for chunk in chunks])
        ends = (ids == END).to(torch.uint8).argmax(dim=1, keepdim=True)
        real = torch.arange(ids.shape[1]) <= torch.where((ids == END).any(dim=1, keepdim=True), ends, ids.shape[1])
        most = tuple(int(min(MANY, max(0.0, float(chunk[0][1])))) for chunk in chunks)
        extra = {"attention_mask": real.reshape(1, -1), PHRASE_TOKENS: ids.shape[1], MOST: most}
        return Encoded(self._run(ids, pool).reshape(1, -1, self.width), None, extra)

    def _id(self, token: Any) -> int:
        if isinstance(token, Tensor) and token.dim() > 0:
            raise BadInput("SAM 3's text encoder takes words, and no embeddings.", hint="Leave out `embedding:` and the like.")
        if not 0 <= int(token) < self.sizes.vocabulary:
            raise BadInput(f"Token {int(token)} is not in the vocabulary of {self.sizes.vocabulary} tokens.")
        return int(token)

    @torch.no_grad()
    def _run(self, ids: Tensor, pool: Pool) -> Tensor:
        loadable, n = self.leasable(), min(len(ids), AT_ONCE)
        working = n * ids.shape[1] * (self.width * 6 + 2 * self.sizes.mlp) * 4
        with pool.lease(loadable, working) as net:
            starts = range(0, len(ids), AT_ONCE)
            parts = [net(ids[i : i + AT_ONCE].to(pool.device), loadable.dtype)[0].float().cpu() for i in starts]
        return torch.cat(parts)
