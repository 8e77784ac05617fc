"""ControlNets for Flux: fewer of its blocks, shown a picture beside the noisy latent, whose streams become residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.flux.net import FluxSizes, FluxStem
from backend.nn.layers import Conv2d, Embedding, Linear
from backend.nn.patchify import fitted, to_tokens
from backend.nn.rope import turn

HINT = 16
STRIDES = (1, 1, 2, 1, 2, 1, 2, 1)
"""Of XLabs' convolutions; a SiLU stands between two."""


@dataclass(frozen=True)
class FluxControlSizes:
    stem: FluxSizes
    picture: int
    """Channels of the latent of the picture that it is shown, or of what convolutions make of its pixels."""
    pixels: bool
    """Whether it sees the picture itself (XLabs) rather than its latent."""
    union: int | None
    """Kinds of pictures that it tells apart, or None."""


class FluxControlNet(FluxStem):
    """(x [B, C, H, W], sigma [B], context [B, L, width], hint) -> residuals of double blocks and of single ones [B, T, width] each.

    `hint` [B, picture, H, W], or [B, 3, 8 H, 8 W] in -1..1.
    """

    def __init__(self, sizes: FluxControlSizes) -> None:
        super().__init__(sizes.stem)
        width = sizes.stem.width
        self.own = sizes
        self.pos_embed_input = Linear(sizes.picture * sizes.stem.patch**2, width)
        self.controlnet_blocks = nn.ModuleList(Linear(width, width) for _ in range(sizes.stem.doubles))
        self.controlnet_single_blocks = nn.ModuleList(Linear(width, width) for _ in range(sizes.stem.singles))
        if sizes.union is not None:
            self.controlnet_mode_embedder = Embedding(sizes.union, width)
        if sizes.pixels:
            self.input_hint_block = nn.ModuleList()
            for i, stride in enumerate(STRIDES):
                self.input_hint_block += [Conv2d(HINT if i else 3, HINT, 3, stride, 1), nn.SiLU()]

    def shown(self, hint: Tensor) -> Tensor:
        """The picture's tokens [B, T, width]."""
        if self.own.pixels:
            layers: list[nn.Module] = list(self.input_hint_block)[::2]
            for i, layer in enumerate(layers):
                hint = layer(F.silu(hint) if i else hint)
        out: Tensor = self.pos_embed_input(to_tokens(fitted(hint, self.sizes.patch), self.sizes.patch, channels_last=False))
        return out

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, shown: Tensor, y: Tensor | None = None, guidance: Tensor | None = None,
        types: Sequence[int] = (),
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """`shown` comes from the method of that name, `types` say which kind of picture it is."""
        x = fitted(x, self.sizes.patch)
        rows, columns = (side // self.sizes.patch for side in x.shape[-2:])
        img, txt = self.img_in(self.tokens(x)) + shown, self.txt_in(context.to(x.dtype))
        if self.own.union is not None and types:
            kinds = self.controlnet_mode_embedder(torch.tensor(types, device=x.device), x.dtype)
            txt = torch.cat([kinds.expand(len(txt), -1, -1), txt], dim=1)
        length = txt.shape[1]
        places = torch.cat([self.layout.prompt(length, x.device), self.layout.picture(rows, columns, x.device)])
        by = turn(places, self.layout.widths(self.sizes.head), self.layout.theta)
        shifts = self.shifts(self.told(t, x, y, guidance))
        double, single = [], []
        for i, block in enumerate(self.double_blocks):
            img, txt = block(img, txt, self.for_double(i, shifts), by)
            double.append(self.controlnet_blocks[i](img))
        both = torch.cat([txt, img], dim=1)
        for i, block in enumerate(self.single_blocks):
            both = block(both, self.for_single(i, shifts), by)
            single.append(self.controlnet_single_blocks[i](both[:, length:]))
        return double, single
