"""Pictures as tokens and back: each token is a square patch of the latent."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def fitted(x: Tensor, patch: int) -> Tensor:
    """x [B, C, H, W] grown at the right and the bottom to whole patches, going on at the opposite border."""
    height, width = x.shape[-2:]
    down, right = -height % patch, -width % patch
    return F.pad(x, (0, right, 0, down), mode="circular") if down or right else x


def to_tokens(x: Tensor, patch: int, channels_last: bool) -> Tensor:
    """[B, C, H, W] -> [B, H / patch * W / patch, C * patch * patch], row by row; in a token lie (row, column, channel) with
    `channels_last`, else (channel, row, column)."""
    b, c, height, width = x.shape
    cells = x.reshape(b, c, height // patch, patch, width // patch, patch)
    order = (0, 2, 4, 3, 5, 1) if channels_last else (0, 2, 4, 1, 3, 5)
    return cells.permute(order).reshape(b, (height // patch) * (width // patch), c * patch * patch)


def to_picture(tokens: Tensor, height: int, width: int, patch: int, channels_last: bool) -> Tensor:
    """The way back: [B, T, C * patch * patch] -> [B, C, height, width]."""
    b, _, size = tokens.shape
    c = size // (patch * patch)
    rows, columns = height // patch, width // patch
    if channels_last:
        cells = tokens.reshape(b, rows, columns, patch, patch, c).permute(0, 5, 1, 3, 2, 4)
    else:
        cells = tokens.reshape(b, rows, columns, c, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(b, c, height, width)
