"""Prompt weights against the rule written out position by position: z' = (z - e) w + e, e the empty prompt's encoding."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.spec import from_checkpoint
from backend.encoders.clip.vocabulary import END, START
from backend.memory.pool import Pool
from backend.nn.layers import init_weights
from backend.weights.file import Entry

WIDTH = 64


@cache
def net() -> ClipText:
    torch.manual_seed(1)
    made = ClipText(ClipSizes(width=WIDTH, layers=2, heads=1, mlp=128))
    init_weights(made)
    for parameter in made.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()  # type: ignore[no-any-return]


@cache
def clip() -> ClipHandle:
    source = {"cond_stage_model.transformer." + key: value for key, value in net().state_dict().items()}
    found = from_checkpoint(source, {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in source.items()})
    assert found is not None
    return found


def states(ids: list[int]) -> Tensor:
    """[77, width], straight from the net with its own parameters."""
    with torch.no_grad():
        hidden: Tensor = net()(torch.tensor([ids]), torch.float32)[0][0]
    return hidden


def slow(chunks: list[list[tuple[int, float]]]) -> Tensor:
    empty = states([START] + [END] * 76)
    rows = []
    for chunk in chunks:
        plain = states([token for token, _ in chunk])
        rows += [(plain[i] - empty[i]) * weight + empty[i] for i, (_, weight) in enumerate(chunk)]
    return torch.stack(rows)[None]


@pytest.mark.parametrize(
    "text",
    [
        "a (red:1.4) cat",
        "((cat)) and (dog:0.2)",
        "(a:0) b",
        "(all of it:-1)",
        "(cat:1.3) " * 60,
        "no weights at all",
        "(long " * 3 + "prompt " * 90 + ")))",
    ],
)
def test_as_the_rule(text: str) -> None:
    tokens = clip().tokenize(text)
    cond, pooled = clip().encode(tokens, Pool("cpu"))
    want = slow(tokens["l"])  # type: ignore[arg-type]
    assert cond.shape == want.shape
    assert (cond - want).abs().max() < 1e-5
    with torch.no_grad():
        first = net()(torch.tensor([[token for token, _ in tokens["l"][0]]]), torch.float32)[1]
    assert (pooled - first).abs().max() < 1e-5


def test_weight_one_changes_nothing() -> None:
    pool = Pool("cpu")
    plain, _ = clip().encode(clip().tokenize("a red cat"), pool)
    ones, _ = clip().encode(clip().tokenize("a (red:1.0) cat"), pool)
    assert torch.equal(plain, ones)


def test_weight_zero_is_the_empty_prompt() -> None:
    cond, _ = clip().encode(clip().tokenize("(cat:0)"), Pool("cpu"))
    assert torch.allclose(cond[0, 1], states([START] + [END] * 76)[1], atol=1e-5)
