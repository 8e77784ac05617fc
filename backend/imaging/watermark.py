"""Invisible marks in pictures: bits in the coarse wavelet band of one colour difference (Navas et al. 2008, as "dwtDct" names it).

Other programs read them with the same method: the largest of 16 coefficients of a block tells a bit by where it lies between multiples of
`SCALE`. A block of 8 x 8 pixels holds one bit; bits repeat over the picture and the majority counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput

SCALE = 36.0
_BLOCK = 4
_BLUE, _GREEN = 2.032, -0.395  # what one step of the colour difference U does to blue and green (BT.601)


def bits_of(text: str) -> list[int]:
    """A text in UTF-8, most significant bit first."""
    return [(byte >> shift) & 1 for byte in text.encode() for shift in range(7, -1, -1)]


def text_of(bits: Tensor) -> str:
    """The way back; what is no UTF-8 becomes replacement characters."""
    values = [int("".join(str(int(bit)) for bit in bits[i : i + 8]), 2) for i in range(0, len(bits) // 8 * 8, 8)]
    return bytes(values).decode("utf-8", "replace")


def _difference(images: Tensor) -> Tensor:
    """U of [B, H, W, 3] in 0..1 as an 8-bit picture has it: [B, H, W] around 128."""
    r, g, b = (images[..., :3].clamp(0, 1) * 255).round().unbind(-1)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return (0.492 * (b - luma) + 128).round().clamp(0, 255)


def _blocks(u: Tensor) -> Tensor:
    """The Haar approximation in blocks of 4 x 4: [B, rows, columns, 16]; rows and columns of 8 x 8 pixels that are whole."""
    height, width = u.shape[1] // 8 * 8, u.shape[2] // 8 * 8
    coarse = F.avg_pool2d(u[:, None, :height, :width], 2) * 2
    return coarse.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK).flatten(-2).squeeze(1)


def _order(rows: int, columns: int, count: int) -> Tensor:
    """Which bit each block holds: [rows, columns]."""
    return (torch.arange(rows * columns) % count).reshape(rows, columns)


def mark(images: Tensor, bits: list[int]) -> Tensor:
    """`images` [B, H, W, C] in 0..1 with `bits` in them. Raises BadInput for pictures with fewer blocks of 8 x 8 pixels than bits."""
    blocks = _blocks(_difference(images))
    _, rows, columns, _ = blocks.shape
    if not bits or rows * columns < len(bits):
        hint = "Use a shorter text or a larger picture."
        raise BadInput(f"A mark of {len(bits)} bits does not fit into {rows * columns} blocks of 8 x 8 pixels.", hint=hint, input="text")
    wanted = torch.tensor(bits, dtype=blocks.dtype)[_order(rows, columns, len(bits))] / 2 + 0.25
    sizes = blocks[..., 1:].abs()  # the first coefficient of a block is never looked at
    (largest, second), place = sizes.topk(2).values.unbind(-1), sizes.argmax(-1, keepdim=True)
    target = ((largest / SCALE).floor() + wanted) * SCALE
    target = torch.where(target < second + 2, target + SCALE, target)  # it has to stay the largest, or another one is read
    sign = torch.where(blocks[..., 1:].gather(-1, place) < 0, -1.0, 1.0)
    change = torch.zeros_like(blocks).scatter_(-1, place + 1, sign * (target - largest).unsqueeze(-1))
    cells = change.reshape(-1, rows, columns, _BLOCK, _BLOCK).transpose(2, 3)
    steps = cells.reshape(-1, rows * _BLOCK, columns * _BLOCK) / 2
    pixels = steps.repeat_interleave(2, 1).repeat_interleave(2, 2) / 255
    made = images.clone()
    part = made[:, : pixels.shape[1], : pixels.shape[2]]
    part[..., 2] += pixels * _BLUE
    part[..., 1] += pixels * _GREEN
    return made.clamp(0, 1)


def read(images: Tensor, count: int) -> Tensor:
    """The `count` bits of each picture [B, H, W, C]: [B, count] of 0 and 1. Any picture has some; only the right ones mean something."""
    blocks = _blocks(_difference(images))
    if count < 1 or blocks[0, ..., 0].numel() < count:
        raise BadInput(f"A picture of this size holds no mark of {count} bits.", hint="Ask for a shorter one.", input="length")
    largest = blocks[..., 1:].abs().amax(-1)
    votes = ((largest % SCALE) > SCALE / 2).float().flatten(1)
    order = _order(blocks.shape[1], blocks.shape[2], count).flatten()
    found = torch.zeros(len(images), count).index_add_(1, order, votes)
    return (found / torch.bincount(order, minlength=count) > 127 / 255).float()
