"""How Anima hears its prompt: Qwen 3 (0.6B) without a template, and the same words as tokens of T5, which its adapter begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.clip.prompt import parse
from backend.encoders.lm.handle import LmHandle
from backend.encoders.text import Encoded, SingleEncoder, TextEncoder, Tokens
from backend.encoders.vocabularies import T5, vocabulary
from backend.families.joining import Joiner
from backend.memory.pool import Pool

BRANCHES = ("qwen3_06b",)
WORDS = "t5xxl"
"""The key of T5's tokens, as packs know them."""
IDS, WEIGHTS = "t5xxl_ids", "t5xxl_weights"
"""Keys of the same in a conditioning."""
END = 1


@dataclass(frozen=True)
class AnimaText(LmHandle):
    """The language model with T5's vocabulary beside it. Weights of a prompt count for the words of T5 alone; the language model reads
    the prompt without its parentheses."""

    @property
    def branches(self) -> tuple[str, ...]:
        return (self.branch, WORDS)

    def tokenize(
        self, text: str, return_word_ids: bool = False, images: Sequence[Tensor] = (), template: str | None = None
    ) -> dict[str, Any]:
        """One chunk of (token, weight) each. Raises BadInput for pictures, which this model cannot see."""
        if images:
            raise BadInput("The text encoder of Anima cannot see pictures.", hint="Leave the image out.")
        spans = parse(text)
        own = [token for span in spans for token in self.ids(span.text)] or [self.make.pad]
        words = vocabulary(T5).tokenizer()
        said = [
            (token, span.weight, number)
            for number, span in enumerate(spans, 1)
            for token in words.encode(span.text.strip(), add_special_tokens=False).ids
        ]
        rows = {self.branch: [(token, 1.0, number) for number, token in enumerate(own, 1)], WORDS: [*said, (END, 1.0, 0)]}
        return {branch: [[entry if return_word_ids else entry[:2] for entry in row]] for branch, row in rows.items()}

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """The language model's last states, and T5's tokens with their weights. Raises BadInput."""
        if not tokens.get(WORDS):
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'}; Anima takes {self.branch} and {WORDS}.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        row = [entry for chunk in tokens[WORDS] for entry in chunk]
        told = {IDS: torch.tensor([int(entry[0]) for entry in row]), WEIGHTS: torch.tensor([float(entry[1]) for entry in row])}
        return Encoded(super().encoded(tokens, pool).cond, None, told)


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    only = encoders[0] if len(encoders) == 1 else None
    if not isinstance(only, LmHandle) or only.branch not in BRANCHES:
        return None
    return AnimaText(**{field.name: getattr(only, field.name) for field in fields(LmHandle)})


TEXT = Joiner("Anima", "Qwen 3 0.6B", ("stable_diffusion",), _join, usual=tuple(frozenset({branch}) for branch in BRANCHES))
