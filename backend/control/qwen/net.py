"""The ControlNet of InstantX for Qwen Image: the first blocks of the net, shown a picture's latent too. Names as published."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import PATCH, QwenSizes, Stem, film_tokens
from backend.nn.layers import Linear


@dataclass(frozen=True)
class QwenControlSizes:
    stem: QwenSizes
    """With as many layers as there are residuals."""
    shown: int
    """Channels of what it is shown: those of a latent, and one more where it is told of holes."""


class QwenControlNet(Stem):
    """(x [B, C, T, H, W], t in 0..1 [B], context [B, L, text], shown [B, shown, T, H, W]) -> residuals [B, tokens, width], one a block.

    H and W are even.
    """

    def __init__(self, sizes: QwenControlSizes) -> None:
        super().__init__()
        self.begin(sizes.stem)
        width = sizes.stem.width
        self.controlnet_x_embedder = Linear(sizes.shown * PATCH * PATCH, width)
        self.controlnet_blocks = nn.ModuleList(Linear(width, width) for _ in range(sizes.stem.layers))

    def forward(self, x: Tensor, t: Tensor, context: Tensor, shown: Tensor) -> list[Tensor]:
        frames, height, width = x.shape[2:]
        h = self.img_in(film_tokens(x)) + self.controlnet_x_embedder(film_tokens(shown))
        text = self.txt_in(self.txt_norm(context))
        by, text_by = self.turns([(frames, height // PATCH, width // PATCH)], [(0, 0, 0)], text.shape[1], x.device)
        time = F.silu(self.time_text_embed(t, x.dtype))
        made = []
        for block, out in zip(self.transformer_blocks, self.controlnet_blocks, strict=True):
            h, text = block(h, text, time, by, text_by)
            made.append(out(h))
        return made
