"""ControlNet (Zhang et al. 2023, arXiv:2302.05543) for the UNets of Stable Diffusion: a trainable copy of the way down.

Parameter names are those of the published single files below `control_model.`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.sd.unet import UNetSizes, input_side, middle, run
from backend.nn.embeddings import timestep_embedding
from backend.nn.joint import JointBlock
from backend.nn.layers import Conv2d, Layer, Linear


@dataclass(frozen=True)
class ControlSizes:
    """A UNet's sizes (the way up is not there) and those of the hint's own net."""

    unet: UNetSizes
    hint_channels: int = 3
    hint_widths: tuple[int, ...] = (16, 16, 32, 32, 96, 96, 256)
    """Outputs of the hint's convolutions; every second one but the first halves the size."""
    union: int | None = None
    """How many kinds of picture a union net knows; None: it is none."""
    union_embed: int = 256

    @property
    def scale(self) -> int:
        """How many pixels of the picture a side of a latent cell has."""
        halvings: int = 2 ** ((len(self.hint_widths) - 1) // 2)
        return halvings


class ControlNet(Layer):
    """x [B, C, H, W], timesteps t [B], text context [B, tokens, dim] and an embedded hint -> residuals by place."""

    def __init__(self, sizes: ControlSizes) -> None:
        super().__init__()
        self.sizes, s = sizes, sizes.unet
        embed, width = s.embed, s.channels[0]
        self.time_embed = nn.Sequential(Linear(width, embed), nn.SiLU(), Linear(embed, embed))
        if s.adm is not None:
            self.label_emb = nn.Sequential(nn.Sequential(Linear(s.adm, embed), nn.SiLU(), Linear(embed, embed)))
        self.input_blocks, skips = input_side(s)
        self.zero_convs = nn.ModuleList(nn.ModuleList([Conv2d(channels, channels, 1)]) for channels in skips)
        self.middle_block = middle(s)
        self.middle_block_out = nn.ModuleList([Conv2d(s.channels[-1], s.channels[-1], 1)])
        self.input_hint_block = hint_net(sizes.hint_channels, sizes.hint_widths, width)
        if sizes.union is not None:
            self.control_add_embedding = TypeEmbedding(sizes.union * sizes.union_embed, embed)
            self.task_embedding = nn.Parameter(torch.empty(sizes.union, width))
            self.transformer_layes = nn.ModuleList([JointBlock(width)])  # the published name
            self.spatial_ch_projs = Linear(width, width)

    def hint(self, picture: Tensor, types: tuple[int, ...] = ()) -> Tensor:
        """A picture [B, C, H, W] as a map at the latent's size. Does not depend on the step.

        `types`: which of its kinds of picture a union net is shown; none: it is left to find out.
        """
        h = picture
        last = len(self.input_hint_block) - 1
        for i in range(0, last + 1, 2):
            h = self.input_hint_block[i](h)
            h = h if i == last else F.silu(h)
        return self.moved(h, types) if types else h

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, hint: Tensor, y: Tensor | None = None, types: tuple[int, ...] = ()
    ) -> dict[str, list[Tensor]]:
        """`hint` and `types` as for and from `hint`; `y` [B, adm] for nets with a vector condition."""
        emb = self.time_embed(timestep_embedding(t, self.sizes.unet.channels[0]).to(x.dtype))
        if self.sizes.unet.adm is not None:
            if y is None:
                raise ValueError("this control net needs the vector condition y")
            emb = emb + self.label_emb(y.to(x.dtype))
        if self.sizes.union is not None:
            chosen = torch.zeros(self.sizes.union, device=x.device)
            chosen[list(types)] = 1.0
            kinds = timestep_embedding(chosen, self.sizes.union_embed).reshape(1, -1)
            emb = emb + self.control_add_embedding(kinds.to(x.dtype))
        h = run(self.input_blocks[0], x, emb, context, None)
        h = h + hint
        zeros = [layer for block in self.zero_convs for layer in block.children()]
        out = [zeros[0](h)]
        for block, zero in zip(list(self.input_blocks)[1:], zeros[1:], strict=True):
            h = run(block, h, emb, context, None)
            out.append(zero(h))
        if self.middle_block is not None:
            h = run(self.middle_block, h, emb, context, None)
        return {"output": out, "middle": [self.middle_block_out[0](h)]}

    def moved(self, hint: Tensor, types: tuple[int, ...]) -> Tensor:
        """The hint, every channel moved by what a transformer makes of its mean and its kind (ControlNet++ union).

        The published code attends along the batch by mistake; for one picture, what it does is attention of the one token to itself.
        """
        kind = self.get("task_embedding", hint)[list(types)].sum(0)
        token = (hint.mean((2, 3)) + kind)[:, None]
        for layer in self.transformer_layes:
            token = layer(token)
        return hint + self.spatial_ch_projs(token[:, 0])[:, :, None, None]


def hint_net(channels: int, widths: tuple[int, ...], out: int) -> nn.ModuleList:
    """Convolutions with SiLU between them; those at an even place after the first halve height and width."""
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        layers += [Conv2d(channels, width, 3, stride=2 if i and i % 2 == 0 else 1, padding=1), nn.SiLU()]
        channels = width
    return nn.ModuleList([*layers, Conv2d(channels, out, 3, padding=1)])


class TypeEmbedding(nn.Module):
    """Two layers on the embedded choice of kinds."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(cin, cout), Linear(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))
