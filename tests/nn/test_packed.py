"""Packed weights give the same result, and layers with slots agree with plain ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from backend.memory.pool import Loadable, Pool
from backend.nn import packed
from backend.nn.blocks import SpatialTransformer
from backend.nn.layers import Conv2d, GatedLinear, Linear, init_weights
from backend.weights.slot import Resident


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    packed.PACKING.float32 = False


DTYPES = st.sampled_from([torch.float32, torch.bfloat16])


@given(DTYPES, st.integers(1, 3), st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.booleans())
@settings(max_examples=60, deadline=None)
def test_linear(dtype: torch.dtype, batch: int, tokens: int, cin: int, cout: int, bias: bool) -> None:
    layer = init_weights(Linear(cin, cout, bias)).to(dtype)
    assert isinstance(layer, Linear)
    packed.PACKING.float32 = True
    x = torch.randn(batch, tokens, cin).to(dtype)
    with torch.inference_mode():
        expected = layer(x)
        layer.slots["weight"] = Resident(layer.pack("weight", layer.weight))
        out = layer(x)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    assert torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)


KINDS = st.sampled_from([(1, 1, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0)])


@given(DTYPES, st.integers(1, 2), st.integers(1, 20), st.integers(1, 40), st.sampled_from([1, 3, 40, 64, 96, 128]), KINDS)
@settings(max_examples=60, deadline=None)
def test_conv(dtype: torch.dtype, batch: int, size: int, cin: int, cout: int, kind: tuple[int, int, int]) -> None:
    kernel, stride, padding = kind
    layer = init_weights(Conv2d(cin, cout, kernel, stride, padding)).to(dtype)
    assert isinstance(layer, Conv2d)
    x = torch.randn(batch, cin, size + 3, size + 2).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = layer(x)
        layer.slots["weight"] = Resident(layer.pack("weight", layer.weight.contiguous(memory_format=torch.channels_last)))
        out = layer(x)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)


@given(DTYPES, st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_gated_linear(dtype: torch.dtype, batch: int, tokens: int, cin: int, cout: int) -> None:
    layer = init_weights(GatedLinear(cin, cout)).to(dtype)
    assert isinstance(layer, GatedLinear)
    packed.PACKING.float32 = True
    x = torch.randn(batch, tokens, cin).to(dtype)
    with torch.inference_mode():
        expected = layer(x)
        layer.slots["weight"] = Resident(layer.pack("weight", layer.weight))
        out = layer(x)
        again = layer(x.double())
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert out.shape == (batch, tokens, cout)
    assert torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)
    assert torch.allclose(again.float(), expected.float(), rtol=tolerance, atol=tolerance)  # another dtype reads the same weight


@pytest.mark.parametrize("layer", [GatedLinear(8, 16), Conv2d(8, 32, 1)])
def test_weights_of_several_blocks_are_read_whole(layer: GatedLinear | Conv2d) -> None:
    packed.PACKING.float32 = True
    weight = torch.randn(layer.weight.shape)
    slot = layer.slots["weight"] = Resident(weight.clone(), lambda w: layer.pack("weight", w))
    assert torch.equal(layer.get("weight", torch.zeros(1)), weight)
    assert torch.equal(slot.fetch(torch.device("cpu"), torch.float64), weight.double())


def test_brought_weights_give_the_bits_of_kept_ones() -> None:
    """With everything that is packed: linear layers, gated ones, convolutions of both kinds; and with a weight that was patched."""
    torch.manual_seed(0)

    def build() -> nn.Module:
        return SpatialTransformer(64, 24, 4, depth=1, linear=False)

    weights = {name: value.detach() for name, value in init_weights(build()).state_dict().items()}
    deltas = dict.fromkeys(("transformer_blocks.0.ff.net.0.proj.weight", "proj_in.weight"), (_half_more,))
    x, context = torch.randn(2, 64, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last), torch.randn(2, 5, 24).bfloat16()
    outs = []
    for patched in ({}, deltas):
        loadable = Loadable("net", build, weights, patched, "p" * bool(patched), torch.bfloat16)
        for budget in (None, 0):
            with torch.inference_mode(), Pool(budget=budget).lease(loadable) as net:
                outs.append(net(x, context))
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[2], outs[3])
    assert not torch.equal(outs[0], outs[2])


def _half_more(weight: Tensor) -> Tensor:
    return weight * 1.5


def test_a_packed_weight_can_be_read_in_another_dtype() -> None:
    weight = torch.randn(64, 64).bfloat16()
    slot = Resident(packed.pack_linear(weight))
    assert torch.equal(slot.fetch(torch.device("cpu"), torch.float32), weight.float())


def test_others_see_plain_weights() -> None:
    layer = Conv2d(32, 64, 3)
    weight = torch.randn(64, 32, 3, 3)
    layer.slots["weight"] = Resident(layer.pack("weight", weight))
    assert torch.equal(layer.get("weight", torch.zeros(1)) + 0, weight)


def test_packing_happens_where_it_can() -> None:
    """On x86 the big convolutions are packed; elsewhere weights stay as they are. Either way odd dtypes and strided 1x1 stay."""
    x86 = bool(packed._packable())
    assert packed.pack_conv(torch.randn(64, 64, 3, 3), 1, 1).is_mkldnn == x86
    assert packed.pack_conv(torch.randn(64, 64, 1, 1).bfloat16(), 1, 0).is_mkldnn == (torch.bfloat16 in packed._packable())
    assert not packed.pack_conv(torch.randn(64, 64, 1, 1), 1, 0).is_mkldnn
    assert not packed.pack_conv(torch.randn(64, 64, 1, 1).bfloat16(), 2, 0).is_mkldnn
    for weight in (torch.randn(64, 64, 1, 1), torch.randn(64, 64, 3, 3).half(), torch.randn(384, 8, 3, 3)):
        assert torch.equal(packed.pack_conv(weight, 1, 1), weight)
        assert packed.pack_conv(weight, 1, 1).is_contiguous(memory_format=torch.channels_last)
    for weight in (torch.randn(64, 64).half(), torch.randn(64)):
        assert packed.pack_linear(weight) is weight
    weight = torch.randn(64, 64)
    assert packed.pack_linear(weight) is weight


@pytest.mark.parametrize("shape", [(2, 7, 128), (300, 64)])
def test_views_as_input(shape: tuple[int, ...]) -> None:
    weight = torch.randn(32, shape[-1] // 2).bfloat16()
    x = torch.randn(shape).bfloat16().chunk(2, dim=-1)[1]
    ready = packed.pack_linear(weight)
    if ready.is_mkldnn:
        out = packed.linear(x, ready, None)
        assert torch.allclose(out.float(), torch.nn.functional.linear(x, weight).float(), rtol=1e-2, atol=1e-2)


def test_convolutions_of_many_layouts_stay_plain() -> None:
    """96 channels out are laid out by map size, which packing does not know: the wrong layout costs twenty times what packing saves."""
    assert not Conv2d(32, 96, 3).pack("weight", torch.randn(96, 32, 3, 3)).is_mkldnn
