"""Prompts to chunks of 77 weighted tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from backend.encoders.clip.prompt import parse, split_embeddings
from backend.encoders.clip.vocabulary import END, START, byte_pairs

log = logging.getLogger(__name__)

CHUNK = 77
LONG_WORD = 8
"""Words of this many tokens and more may be cut at the end of a chunk; shorter ones move on whole."""

Token = int | Tensor
"""A token id, or a vector [width] that stands for a token (textual inversion)."""
Weighted = tuple[Token, float]
Lookup = Callable[[str], Tensor | None]
"""Name of an embedding -> vectors [n, width], or None where there is no such file."""


@dataclass(frozen=True)
class ClipTokenizer:
    """Turns prompts into what one CLIP text encoder takes."""

    pad: int = END
    """What fills a chunk after its end token: the end token for CLIP-L, 0 for OpenCLIP."""
    lookup: Lookup | None = None
    """How `embedding:name` is found; without it the syntax is plain text."""

    def chunks(self, text: str) -> list[list[Weighted]]:
        """At least one chunk of 77 (token, weight); start, end and padding weigh 1. Linear in the text."""
        return [[(token, weight) for token, weight, _ in chunk] for chunk in self.numbered(text)]

    def numbered(self, text: str) -> list[list[tuple[Token, float, int]]]:
        """As `chunks`, each token with the number of its word from 1 on; 0 for start, end and padding."""
        chunks: list[list[tuple[Token, float, int]]] = []
        chunk: list[tuple[Token, float, int]] = []
        room = CHUNK - 2

        def close() -> None:
            body = [(START, 1.0, 0), *chunk, (END, 1.0, 0)]
            chunks.append(body + [(self.pad, 1.0, 0)] * (CHUNK - len(body)))
            chunk.clear()

        for number, word in enumerate(self.words(text), start=1):
            at = 0
            while len(chunk) + len(word) - at > room:
                if len(word) >= LONG_WORD:
                    fits = room - len(chunk)
                    chunk.extend((token, weight, number) for token, weight in word[at : at + fits])
                    at += fits
                close()
            chunk.extend((token, weight, number) for token, weight in word[at:])
        close()
        return chunks

    def words(self, text: str) -> Iterator[list[Weighted]]:
        """The tokens of each word (what white space separates) or embedding, in order."""
        for span in parse(text):
            for is_name, part in split_embeddings(span.text) if self.lookup else [(False, span.text)]:
                if is_name:
                    yield from self._embedding(part, span.weight)
                else:
                    yield from weigh(plain_words(part), span.weight)

    def _embedding(self, name: str, weight: float) -> Iterator[list[Weighted]]:
        """The vectors of an embedding; commas written after its name are text."""
        assert self.lookup is not None
        bare = name.rstrip(",")
        for candidate in dict.fromkeys((name, bare)):
            vectors = self.lookup(candidate) if candidate else None
            if vectors is not None:
                yield [(vector, weight) for vector in vectors]
                yield from weigh(plain_words(name[len(candidate) :]), weight)
                return
        log.warning("There is no embedding named '%s' in the embeddings folder; it was left out of the prompt.", bare)
        yield from weigh(plain_words(name[len(bare) :]), weight)


def weigh(words: Iterable[list[int]], weight: float) -> Iterator[list[Weighted]]:
    """Every token of every word with the weight."""
    for word in words:
        yield [(token, weight) for token in word]


def plain_words(text: str) -> Iterator[list[int]]:
    """Token ids by word. The whole text is encoded at once; a word ends where tokens leave white space between them."""
    encoding = byte_pairs().encode(text, add_special_tokens=False)
    word: list[int] = []
    reached = 0
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if word and any(c.isspace() for c in text[reached:start]):
            yield word
            word = []
        word.append(token)
        reached = max(reached, end)
    if word:
        yield word
