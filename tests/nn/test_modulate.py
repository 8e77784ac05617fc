"""What normalises and turns tokens in one pass gives what its formula says."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from backend.nn.modulate import modulated
from backend.nn.rope import Turn, turn, turned, turned_halves


@pytest.mark.parametrize("batch", [1, 3])
def test_tokens_are_scaled_and_shifted_by_the_time(batch: int) -> None:
    x, shift, scale = torch.randn(batch, 7, 32) * 3 + 1, torch.randn(batch, 1, 32), torch.randn(batch, 1, 32)
    want = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * (1 + scale) + shift
    assert torch.allclose(modulated(x, shift, scale, 1e-5), want, atol=1e-5)


def test_in_few_bits_one_pass_rounds_less() -> None:
    x, shift, scale = (torch.randn(*shape) for shape in ((1, 500, 64), (1, 1, 64), (1, 1, 64)))
    low = [part.bfloat16() for part in (x, shift, scale)]
    want = modulated(*(part.double() for part in low))
    apart = F.layer_norm(low[0], (64,), eps=1e-6) * (1 + low[2]) + low[1]
    assert (modulated(*low) - want).abs().mean() < (apart - want).abs().mean()


def angles(batched: bool) -> Turn:
    by = turn(torch.arange(10).reshape(5, 2).float(), (4, 8), 100.0)
    return (by[0].expand(2, 1, 5, 6), by[1].expand(2, 1, 5, 6)) if batched else by


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairs_turn(batched: bool, dtype: torch.dtype) -> None:
    """By each of both ways in which channels make pairs; also what is no whole tensor, and what is compiled."""
    by, x = angles(batched), torch.randn(2, 5, 3, 36).to(dtype)[..., 12:24].transpose(1, 2)
    cos, sin = by
    a, b = x.double().unflatten(-1, (-1, 2)).unbind(-1)
    want = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    close = 1e-6 if dtype == torch.float32 else 0.02
    assert (turned(x, by) - want).abs().max() < close and turned(x, by).dtype == dtype
    assert (torch.compile(turned, backend="eager")(x, by) - want).abs().max() < close
    order = torch.cat([torch.arange(0, 12, 2), torch.arange(1, 12, 2)])  # the first of each pair, then the second
    assert (turned_halves(x[..., order], by) - want[..., order]).abs().max() < close
