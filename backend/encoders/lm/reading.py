"""How a family of image models reads a language model: what it is told around the prompt, and which hidden states count."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.encoders.clip.prompt import ESCAPED


def first_of(states: Sequence[Tensor]) -> Tensor:
    return states[0]


def side_by_side(states: Sequence[Tensor]) -> Tensor:
    """[B, T, width] each -> [B, T, widths], in order."""
    return torch.cat(list(states), dim=-1)


def stacked(states: Sequence[Tensor]) -> Tensor:
    """[B, T, width] each -> [B, layers, T, width]."""
    return torch.stack(list(states), dim=1)


@dataclass(frozen=True)
class Reading:
    """A family's way with a language model."""

    template: str = "{}"
    """What it is told; `{}` is the prompt. A prompt that begins like the template (with its first mark) is told as it is."""
    layers: tuple[int, ...] = (-1,)
    """Hidden states: 0 are the embeddings, i what layer i gave, -1 the last one's after the final norm, -2 the one before's."""
    mix: Callable[[Sequence[Tensor]], Tensor] = first_of
    """What these are together."""
    drop: int | Callable[[Sequence[int]], int] = 0
    """Tokens at the beginning that are left out of the encoding; or how many, seen the tokens."""
    most: int | None = None
    """Tokens read at most; of a longer text the end is left out."""
    least: int = 0
    """A shorter text is filled up with padding, which nobody sees but itself."""
    pad: int | None = None
    """The token for it; None: the model's own."""
    pad_left: bool = False
    mask: bool = False
    """Whether the family is told which tokens are there, as "attention_mask" [1, tokens]."""
    start: bool = True
    """Whether the tokens that the model's texts begin with are put before."""
    finish: bool = True
    """Whether the last layer's hidden states go through the final norm."""
    end: tuple[int, ...] = ()
    """Tokens put behind."""

    def told(self, prompt: str) -> str:
        r"""The text for a prompt; `\(` and `\)` are plain parentheses, as in every prompt."""
        prompt = ESCAPED.sub(r"\1", prompt)
        mark = re.match(r"<\|?[\w ]+\|?>|\[[A-Z_]+\]", self.template)
        if mark is not None and prompt.startswith(mark[0]):
            return prompt
        before, _, after = self.template.partition("{}")
        return before + prompt + after

    def dropped(self, tokens: Sequence[int]) -> int:
        """How many tokens of these are left out."""
        return self.drop if isinstance(self.drop, int) else self.drop(tokens)
