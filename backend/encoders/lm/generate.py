"""Writing with a language model, a token at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.net import Cache, Head, LanguageModel, logits
from backend.memory.pool import Pool

MOST = 32768
"""Tokens of question and answer together; the cache of keys and values is made for them."""
THINKING = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


@dataclass(frozen=True)
class Choosing:
    """How the next token is chosen from what the model finds likely; as it stands the likeliest one."""

    temperature: float = 0.0
    """Above 1 more daring; 0: the likeliest token."""
    top_k: int = 0
    """Only so many of the likeliest; 0: all."""
    top_p: float = 1.0
    """Only the likeliest ones that together reach this share (Holtzman et al. 2020, arXiv:1904.09751)."""
    min_p: float = 0.0
    """Only those at least so likely compared with the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    repetition: float = 1.0
    """Scores of tokens that were there before are divided by it, or multiplied where negative (Keskar et al. 2019, arXiv:1909.05858)."""
    presence: float = 0.0
    """Taken from the scores of tokens that were written before."""
    seed: int = 0


def chosen(scores: Tensor, before: Sequence[int], written: Sequence[int], how: Choosing, dice: torch.Generator) -> int:
    """The next token from scores [vocabulary] float32; `before` are all tokens so far, `written` those of the answer."""
    scores = scores.clone()
    if how.repetition != 1.0 and before:
        seen = torch.tensor(sorted(set(before)))
        scores[seen] = torch.where(scores[seen] < 0, scores[seen] * how.repetition, scores[seen] / how.repetition)
    if how.presence and written:
        scores[torch.tensor(sorted(set(written)))] -= how.presence
    if how.temperature <= 0:
        return int(scores.argmax())
    scores = scores / how.temperature
    none = float("-inf")
    if 0 < how.top_k < len(scores):
        scores[scores < scores.topk(how.top_k).values[-1]] = none
    if how.top_p < 1.0:
        ordered, order = scores.sort(descending=True)
        shares = ordered.softmax(-1)
        scores[order[shares.cumsum(-1) - shares > how.top_p]] = none
    if how.min_p > 0.0:
        shares = scores.softmax(-1)
        scores[shares < how.min_p * shares.max()] = none
    return int(torch.multinomial(scores.softmax(-1), 1, generator=dice))


@torch.no_grad()
def generate(
    handle: LmHandle, entries: Sequence[Any], most: int, how: Choosing, pool: Pool, on_token: Callable[[int], None] = lambda count: None
) -> list[int]:
    """Tokens of the answer to a text of token ids and pictures, at most `most`; `on_token` hears how many there are, and may raise.

    Raises BadInput for a text that leaves no room.
    """
    if not handle.sizes.final:
        raise BadInput(
            f"This {handle.title} cannot write: its file was cut behind the layers that an image model reads.",
            hint="Use the whole language model.",
        )
    text = handle.read(entries, pool)
    if text.length >= MOST:
        raise BadInput(f"The question is {text.length} tokens long; {handle.title} answers to less than {MOST}.", hint="Shorten it.")
    room = min(most, MOST - text.length)
    dice = torch.Generator().manual_seed(how.seed % 2**63)
    before = [token for token in text.tokens[0].tolist() if token >= 0]
    written: list[int] = []
    with ExitStack() as stack:
        net = cast(LanguageModel, stack.enter_context(pool.lease(handle.leasable(), _working(handle, text.length + room))))
        head = None if handle.head is None else cast(Head, stack.enter_context(pool.lease(handle.head)))
        cache = Cache(text.length + room)
        x = text.embedded(net, handle.loadable.dtype, pool.device)
        (state,) = net(x, (-1,), cache=cache, **text.facts(pool.device))
        while len(written) < room:
            token = chosen(logits(net, state[:, -1], head)[0].cpu(), before, written, how, dice)
            if token in handle.make.ends:
                break
            written.append(token)
            before.append(token)
            on_token(len(written))
            if len(written) < room:
                place = torch.tensor([[text.next_place + len(written) - 1]], device=pool.device)
                x = net.embedded(torch.tensor([[token]], device=pool.device), handle.loadable.dtype)
                (state,) = net(x, (-1,), cache=cache, places=place)
    return written


def _working(handle: LmHandle, length: int) -> int:
    """Activations, and the keys and values of the whole length."""
    s = handle.sizes
    return handle.working(length) + 2 * s.layers * length * s.kv_heads * s.head * handle.loadable.dtype.itemsize


def question(handle: LmHandle, prompt: str, system: str = "", images: Sequence[Tensor] = (), thinking: bool = False) -> list[Any]:
    """A prompt as the model's chats put it, with pictures before its words: tokens for `generate`. Raises BadInput."""
    make = handle.make
    chat = make.chat.removesuffix(make.thought) + make.thinking if thinking else make.chat
    told = make.system.replace("{}", system) if system else ""
    before, _, after = chat.replace("{system}", told).rpartition("{}")
    return handle.entries(before + make.image * len(images) + prompt + after, images)


def parted(handle: LmHandle, tokens: Sequence[int]) -> tuple[str, str]:
    """(answer, what was thought before) in words."""
    text = handle.tokenizer.decode(list(tokens), skip_special_tokens=False)
    found = THINKING.match(text)
    thought = "" if found is None else found[1].strip()
    rest = text if found is None else text[found.end() :]
    special = [token.content for token in handle.tokenizer.get_added_tokens_decoder().values() if token.special]
    for mark in special:
        rest, thought = rest.replace(mark, ""), thought.replace(mark, "")
    return rest.strip(), thought
