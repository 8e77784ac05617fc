"""Block formats against the reference implementation of their authors."""

from __future__ import annotations

import pytest
import torch

from backend.weights.quant.blocks import BLOCKS, nbytes, unpack

HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip
"""Where the scales of a block are."""
gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize("number", BLOCKS)
def test_numbers_are_those_of_the_reference(number: int) -> None:
    block = BLOCKS[number]
    kind = gguf.GGMLQuantizationType(number)
    assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (block.name, (block.values, block.nbytes))
    generator = torch.Generator().manual_seed(number)
    shape = (5, 3 * block.values)
    raw = torch.randint(0, 256, (nbytes(block, shape),), generator=generator, dtype=torch.uint8)
    for at in HALVES[block.name]:
        raw.view(-1, block.nbytes)[:, at + 1] &= 0xBB  # numbers below 1, so that nothing overflows
    expected = torch.from_numpy(gguf.quants.dequantize(raw.view(5, -1).numpy(), kind).copy())
    made = unpack(block, raw, shape)
    assert made.dtype == torch.float32
    assert torch.allclose(made, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("number", [2, 3, 6, 7, 8])
def test_what_the_reference_quantised_comes_back_near(number: int) -> None:
    block = BLOCKS[number]
    weight = torch.randn(4, 2 * block.values, generator=torch.Generator().manual_seed(0))
    raw = torch.from_numpy(gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType(number)).copy())
    made = unpack(block, raw.reshape(-1), tuple(weight.shape))
    assert float((made - weight).abs().max()) < 0.35
