"""Where the attentions of a UNet are, in the order in which adapter files count them: the way down, the way up, the middle."""

from __future__ import annotations

from backend.families.sd.unet import UNetSizes

Place = tuple[str, int, int]
"""(input, output or middle; number of the block; number of the transformer block inside)."""


def attention_places(sizes: UNetSizes) -> list[tuple[Place, int]]:
    """Place and width of every transformer block."""
    down: list[tuple[Place, int]] = []
    number, start = 1, 0
    for level, count in enumerate(sizes.res_blocks):
        for depth in sizes.depth_in[start : start + count]:
            down += [(("input", number, i), sizes.channels[level]) for i in range(depth)]
            number += 1
        number += 1
        start += count
    up: list[tuple[Place, int]] = []
    number = 0
    for level in reversed(range(len(sizes.channels))):
        for _ in range(sizes.res_blocks[level] + 1):
            up += [(("output", number, i), sizes.channels[level]) for i in range(sizes.depth_out[number])]
            number += 1
    middle: list[tuple[Place, int]] = [(("middle", 0, i), sizes.channels[-1]) for i in range(sizes.depth_middle or 0)]
    return down + up + middle


def module_at(place: Place) -> str:
    """The name of a transformer block in the net."""
    block, number, index = place
    parent = "middle_block.1" if block == "middle" else f"{block}_blocks.{number}.1"
    return f"{parent}.transformer_blocks.{index}"
