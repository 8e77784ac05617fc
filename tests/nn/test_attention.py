"""Both ways to compute attention agree with the definition, and the faster one knows when it does not apply."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from backend.nn import attention as choice
from backend.nn import products


@pytest.fixture(autouse=True)
def _no_preference() -> Iterator[None]:
    yield
    choice.PREFERENCE.kernel, choice.PREFERENCE.upcast = "", False


def exact(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q.double() @ k.double().transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v.double()


COUNT = st.integers(1, 70)


@given(st.integers(1, 2), st.integers(1, 3), COUNT, COUNT, st.integers(1, 50), st.floats(0.1, 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_products_agree_with_the_definition(b: int, h: int, t: int, s: int, d: int, size: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(b, h, n, d, generator=g) for n in (t, s, s))
    out = products.attend(q * size, k + 3, v)  # keys with a common part, as trained ones have
    assert out is not None
    assert (out - exact(q * size, k + 3, v)).abs().max() < 1e-3


@pytest.mark.parametrize("size", [0.5, 1.5, 4.0])
def test_bfloat16_is_no_worse_than_rounding_its_inputs(size: float) -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 600, 40, generator=g) for _ in range(3))
    wanted = exact(q * size, k, v)
    half = [x.bfloat16() for x in (q * size, k, v)]
    out = products.attend(*half)
    assert out is not None
    error, floor = (out.double() - wanted).norm() / wanted.norm(), (exact(*half) - wanted).norm() / wanted.norm()
    assert error < floor + 0.01


def test_a_score_that_no_guess_foresaw_is_left_to_the_fused_kernel() -> None:
    q, k, v = torch.zeros(1, 1, 600, 8), torch.zeros(1, 1, 700, 8), torch.randn(1, 1, 700, 8)
    q[..., 0], k[0, 0, 5, 0] = 100, 100  # key 5 is not among the sampled ones
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    assert products.attend(q, k, v) is None
    assert torch.equal(choice.by_head(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_flags_choose_the_kernel() -> None:
    q, k, v = (torch.randn(1, 2, 600, 16).bfloat16() for _ in range(3))
    fused = F.scaled_dot_product_attention(q, k, v)
    assert products.suits(q, k) and not products.suits(q.float(), k.float()) and not products.suits(q, k[:, :, :40])
    assert not products.suits(q, k[:, :, :77]) and products.suits(q.repeat(1, 1, 2, 1), k[:, :, :77])
    choice.PREFERENCE.kernel = "fused"
    assert torch.equal(choice.by_head(q, k, v), fused)
    choice.PREFERENCE.kernel = "products"
    small = [x[:, :, :20].float() for x in (q, k, v)]
    assert torch.equal(choice.by_head(*small), products.attend(*small))  # type: ignore[arg-type]
    choice.PREFERENCE.kernel, choice.PREFERENCE.upcast = "fused", True
    assert torch.equal(choice.by_head(q, k, v), F.scaled_dot_product_attention(q.float(), k.float(), v.float()).bfloat16())


def test_a_mask_is_for_the_fused_kernel() -> None:
    q, k, v = (torch.randn(1, 1, 600, 16).bfloat16() for _ in range(3))
    mask = torch.ones(600, 600, dtype=torch.bool).tril()
    assert torch.equal(choice.by_head(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
