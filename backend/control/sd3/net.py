"""ControlNets of Stable Diffusion 3: the first blocks of the net, shown a picture's latent too.

Those of InstantX and Alimama read the prompt; Stability's for 3.5 large look at the picture alone, and begin with the model's own tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from backend.families.sd3.net import PATCH, Patches, SD3Net, SD3Sizes, Stream
from backend.nn.attention import by_head
from backend.nn.layers import Linear
from backend.nn.modulate import modulated


@dataclass(frozen=True)
class SD3ControlSizes:
    stem: SD3Sizes
    """With as many layers as there are residuals."""
    shown: int = 16
    """Channels of what it is shown: those of a latent, and one more where it is told of holes."""
    reads: bool = True
    """Whether it reads the prompt."""
    twice: bool = False
    """Whether it embeds what the model made of the pooled text, rather than that itself."""


class Alone(nn.Module):
    """A block of the picture's stream, which attends to itself only."""

    def __init__(self, s: SD3Sizes) -> None:
        super().__init__()
        self.x_block = Stream(s)

    def forward(self, img: Tensor, vec: Tensor) -> Tensor:
        stream = self.x_block
        told = stream.told(vec)
        answer = by_head(*stream.attn.products(modulated(img, told[0], told[1]))).transpose(1, 2).flatten(2)
        return stream.after(img, told, answer)


class SD3ControlNet(SD3Net):
    """(x [B, C, H, W], t, context, y, shown [B, shown, H, W]) -> residuals [B, tokens, width], one a block. H and W are even."""

    def __init__(self, sizes: SD3ControlSizes) -> None:
        super().__init__(sizes.stem, whole=False)
        s = sizes.stem
        self.reads, self.twice = sizes.reads, sizes.twice
        if not sizes.reads:
            self.joint_blocks = nn.ModuleList(Alone(s) for _ in range(s.layers))
            self.context_embedder = None
        if sizes.twice:
            self.own_y_embedder = type(self.y_embedder)(s.width, s.width)
        self.pos_embed_input = Patches(sizes.shown, s.width)
        self.controlnet_blocks = nn.ModuleList(Linear(s.width, s.width) for _ in range(s.layers))

    def pooled(self, y: Tensor) -> Tensor:
        first = super().pooled(y)
        return self.own_y_embedder(first) if self.twice else first

    def residuals(self, x: Tensor, t: Tensor, context: Tensor | None, y: Tensor, shown: Tensor) -> list[Tensor]:
        img = self.x_embedder(x) + self.placed(x.shape[-2] // PATCH, x.shape[-1] // PATCH, x)
        img = img + self.pos_embed_input(shown)
        vec = self.told(t, y, x)
        txt = None if context is None or self.context_embedder is None else self.context_embedder(context.to(x.dtype))
        made = []
        for block, out in zip(self.joint_blocks, self.controlnet_blocks, strict=True):
            if txt is None:
                img = block(img, vec)
            else:
                img, txt = block(img, txt, vec)
            made.append(out(img))
        return made
