"""The denoising UNet of Stable Diffusion 1, 2 and XL (base, refiner, inpainting and pruned ones): one net, sizes as data.

Rombach et al. 2022 (arXiv:2112.10752), Podell et al. 2023 (arXiv:2307.01952). Parameter names are those of the published
single files below `model.diffusion_model.`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.blocks import Downsample, ResBlock, SpatialTransformer, Upsample
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Conv2d, Embedding, GroupNorm, Linear
from backend.nn.taps import Site, Taps


@dataclass(frozen=True)
class UNetSizes:
    """Everything that differs between nets of this kind. All but the head rule can be read from the shapes of the weights."""

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    """Width of each level, finest first; the first is also the width of the first convolution and of the timestep embedding."""
    res_blocks: tuple[int, ...] = (2, 2, 2, 2)
    """Residual blocks per level on the way down; the way up has one more."""
    depth_in: tuple[int, ...] = (1, 1, 1, 1, 1, 1, 0, 0)
    """Transformer blocks after each residual block on the way down, in order (0: none)."""
    depth_middle: int | None = 1
    """None: no middle block. 0: a single residual block. Else residual, transformer of this depth, residual."""
    depth_out: tuple[int, ...] = (0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    """Transformer blocks after each residual block on the way up, in order."""
    context: int = 768
    """Width of the text encoding."""
    heads: int | None = 8
    """Attention heads everywhere, or None where `head_dim` rules."""
    head_dim: int | None = None
    linear: bool = False
    """Linear projections around the transformers rather than 1x1 convolutions."""
    adm: int | None = None
    """Width of the vector condition `y`, or None."""
    classes: int | None = None
    """Number of class labels `y`, or None; never together with `adm`."""
    guidance: int | None = None
    """Width of the embedded guidance scale that distilled nets are told (Meng et al. 2023, arXiv:2210.03142), or None."""
    cross_only: tuple[bool, ...] = ()
    """By level: whether the first attention of a transformer looks at the text too, instead of at itself. Empty: nowhere."""

    def __post_init__(self) -> None:
        if len(self.res_blocks) != len(self.channels):
            raise ValueError("res_blocks needs one entry per level")
        if len(self.depth_in) != sum(self.res_blocks) or len(self.depth_out) != sum(self.res_blocks) + len(self.res_blocks):
            raise ValueError("depth_in and depth_out need one entry per residual block")
        if (self.heads is None) == (self.head_dim is None):
            raise ValueError("give either heads or head_dim")

    @property
    def embed(self) -> int:
        """Width of the timestep embedding after its two layers."""
        return self.channels[0] * 4

    def heads_at(self, channels: int) -> int:
        """Attention heads of a transformer `channels` wide."""
        return self.heads if self.heads is not None else max(1, channels // (self.head_dim or channels))


class UNet(nn.Module):
    """Predicts noise or velocity from noisy latents x [B, in_channels, H, W] at timesteps t [B] with text context [B, tokens, dim]."""

    def __init__(self, sizes: UNetSizes) -> None:
        super().__init__()
        self.sizes = sizes
        s, embed = sizes, sizes.embed
        self.time_embed = nn.Sequential(Linear(s.channels[0], embed), nn.SiLU(), Linear(embed, embed))
        if s.adm is not None:
            self.label_emb: nn.Module = nn.Sequential(nn.Sequential(Linear(s.adm, embed), nn.SiLU(), Linear(embed, embed)))
        elif s.classes is not None:
            self.label_emb = Embedding(s.classes, embed)
        if s.guidance is not None:
            self.cond_proj = Linear(s.guidance, s.channels[0], bias=False)
        self.input_blocks, skips = input_side(s)
        self.middle_block = middle(s)
        self.output_blocks = output_side(s, skips)
        self.out = nn.ModuleList([GroupNorm(32, s.channels[0]), nn.SiLU(), Conv2d(s.channels[0], s.out_channels, 3, padding=1)])

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        y: Tensor | None = None,
        control: Mapping[str, Sequence[Tensor | None]] | None = None,
        taps: Taps | None = None,
        facts: Mapping[str, Any] | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Returns [B, out_channels, H, W].

        t may be fractional. `y` [B, adm] for nets with a vector condition, or whole numbers [B] for nets with classes.
        `guidance` [B, width] for nets that are told the guidance scale. `control` holds residuals under "input", "middle" and
        "output", each list used from its end: input[-1] is added after input_blocks.0, output[-1] to the skip of output_blocks.0.
        `taps` are hook callables by name, `facts` what they are told (see backend.nn.taps).
        """
        told = {"original_shape": list(x.shape), "net_input": x, "timesteps": t, "context": context}
        root = Site(taps, {**(facts or {}), **told}) if taps else None
        residuals = Residuals(control)
        emb = self.embedding(t, y, x, root, guidance)
        root = root.at(emb=emb) if root else None
        skips: list[Tensor] = []
        transformers = 0
        h = x
        for i, block in enumerate(self.input_blocks):
            site = root.at(block=("input", i), transformer_index=transformers) if root else None
            h = residuals.add("input", run(block, h, emb, context, site))
            transformers += count_transformers(block)
            if site is None:
                skips.append(h)
            else:
                h = site.fold("input_block_patch", h)
                skips.append(h)
                h = site.fold("input_block_patch_after_skip", h)
        if self.middle_block is not None:
            site = root.at(block=("middle", 0), transformer_index=transformers) if root else None
            h = run(self.middle_block, h, emb, context, site)
            transformers += count_transformers(self.middle_block)
        h = residuals.add("middle", h)
        if root:
            h = root.at(block=("middle", 0)).fold("middle_block_patch", h)
        for i, block in enumerate(self.output_blocks):
            site = root.at(block=("output", i), transformer_index=transformers) if root else None
            skip = residuals.add("output", skips.pop())
            if site is not None:
                h, skip = site.fold_many("output_block_patch", h, skip)
            h = torch.cat([h, skip], dim=1)
            h = run(block, h, emb, context, site, size_of(skips[-1]) if skips else None)
            transformers += count_transformers(block)
        return self.out[2](F.silu(self.out[0](h)))

    def embedding(self, t: Tensor, y: Tensor | None, x: Tensor, site: Site | None = None, guidance: Tensor | None = None) -> Tensor:
        """The vector [B, 4 * channels[0]] that tells every residual block the timestep and the vector condition."""
        time = timestep_embedding(t, self.sizes.channels[0]).to(x.dtype)
        if self.sizes.guidance is not None and guidance is not None:
            time = time + self.cond_proj(guidance.to(x.dtype))
        emb = self.time_embed(time)
        if site is not None:
            emb = site.fold("emb_patch", emb, self.sizes.channels[0])
        if self.sizes.adm is None and self.sizes.classes is None:
            return emb
        if y is None:
            raise ValueError("this net needs the vector condition y")
        return emb + (self.label_emb(y.to(x.dtype)) if self.sizes.adm is not None else self.label_emb(y.long(), x.dtype))


class Residuals:
    """Control residuals, each list used from its end and never edited."""

    def __init__(self, control: Mapping[str, Sequence[Tensor | None]] | None) -> None:
        self.left = {name: list(values) for name, values in (control or {}).items()}

    def add(self, name: str, h: Tensor) -> Tensor:
        values = self.left.get(name)
        residual = values.pop() if values else None
        return h if residual is None else h + residual.to(h.dtype)


def transformer(s: UNetSizes, channels: int, depth: int, level: int | None = None) -> SpatialTransformer:
    cross_only = bool(s.cross_only) and level is not None and s.cross_only[level]
    return SpatialTransformer(channels, s.context, s.heads_at(channels), depth, s.linear, cross_only)


def input_side(s: UNetSizes) -> tuple[nn.ModuleList, list[int]]:
    """The way down and the widths of the maps it leaves for the way up."""
    width = s.channels[0]
    blocks = nn.ModuleList([nn.ModuleList([Conv2d(s.in_channels, width, 3, padding=1)])])
    skips = [width]
    depths = iter(s.depth_in)
    for level, (channels, count) in enumerate(zip(s.channels, s.res_blocks, strict=True)):
        for _ in range(count):
            depth = next(depths)
            block = nn.ModuleList([ResBlock(width, channels, s.embed)])
            if depth:
                block.append(transformer(s, channels, depth, level))
            blocks.append(block)
            width = channels
            skips.append(width)
        if level != len(s.channels) - 1:
            blocks.append(nn.ModuleList([Downsample(width)]))
            skips.append(width)
    return blocks, skips


def middle(s: UNetSizes) -> nn.ModuleList | None:
    if s.depth_middle is None:
        return None
    width = s.channels[-1]
    blocks = nn.ModuleList([ResBlock(width, width, s.embed)])
    if s.depth_middle:
        blocks.extend([transformer(s, width, s.depth_middle), ResBlock(width, width, s.embed)])
    return blocks


def output_side(s: UNetSizes, skips: list[int]) -> nn.ModuleList:
    """The way up; consumes the widths in `skips` from their end."""
    blocks = nn.ModuleList()
    width = s.channels[-1]
    depths = iter(s.depth_out)
    for level in reversed(range(len(s.channels))):
        channels = s.channels[level]
        for i in range(s.res_blocks[level] + 1):
            depth = next(depths)
            block = nn.ModuleList([ResBlock(width + skips.pop(), channels, s.embed)])
            if depth:
                block.append(transformer(s, channels, depth, level))
            if level and i == s.res_blocks[level]:
                block.append(Upsample(channels))
            blocks.append(block)
            width = channels
    return blocks


def run(block: nn.Module, h: Tensor, emb: Tensor, context: Tensor, site: Site | None, size: tuple[int, int] | None = None) -> Tensor:
    """Run the layers of one numbered block; `size` is what an upsampler aims at (odd sizes do not double exactly).

    "block_around" taps f(call, h, facts) wrap it.
    """
    if site is not None and "block_around" in site.taps:
        return site.around("block_around", lambda h: layers(block, h, emb, context, site, size), h)
    return layers(block, h, emb, context, site, size)


def layers(block: nn.Module, h: Tensor, emb: Tensor, context: Tensor, site: Site | None, size: tuple[int, int] | None) -> Tensor:
    for layer in block.children():
        if isinstance(layer, ResBlock):
            h = layer(h, emb)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, context, site)
        elif isinstance(layer, Upsample):
            h = layer(h, size)
        else:
            h = layer(h)
    return h


def count_transformers(block: nn.Module) -> int:
    return sum(isinstance(layer, SpatialTransformer) for layer in block.children())


def size_of(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def init_training(net: UNet) -> UNet:
    """Zero the last layer of every residual branch and of the net, in place, so that training starts from the identity (Ho et al. 2020)."""
    last: list[nn.Module] = [net.out[2]]
    for module in net.modules():
        if isinstance(module, ResBlock):
            last.append(module.out_layers[3])
        elif isinstance(module, SpatialTransformer):
            last.append(module.proj_out)
    for module in last:
        for parameter in module.parameters(recurse=False):
            nn.init.zeros_(parameter)
    return net
