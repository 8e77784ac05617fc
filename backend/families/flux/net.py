"""Flux's transformer, and what its relatives (Chroma, Flux 2, LongCat) share with it: sizes as data, parts that differ as methods.

Parameter names are those of the published single files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.flux.blocks import BlockSizes, DoubleBlock, Embedder, FinalLayer, Shift, SingleBlock
from backend.families.flux.places import Layout, Place
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Linear
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.rope import turn
from backend.nn.taps import Site, Taps

FREQUENCIES = 256
CLOCK = 1000.0
"""Times and guidance scales are embedded as so many thousandths."""
LARGEST = 65504.0
"""The largest number of float16, beyond which a long stream would overflow."""


@dataclass(frozen=True)
class FluxSizes:
    """Everything that differs between nets of this kind; all of it can be read from shapes."""

    channels: int = 16
    """Of the latent that is denoised."""
    shown: int = 0
    """Channels joined to it: masks and pictures for nets that fill in or follow edges or depth."""
    patch: int = 2
    width: int = 3072
    heads: int = 24
    hidden: int = 12288
    doubles: int = 19
    singles: int = 38
    context: int = 4096
    """Width of the text encoding."""
    pooled: int = 768
    """Width of the pooled text, or 0."""
    guidance: bool = True
    """Whether the net is told a guidance scale."""

    @property
    def head(self) -> int:
        return self.width // self.heads


@dataclass
class State:
    """The streams between two blocks, and what stays the same for all of them."""

    img: Tensor
    txt: Tensor
    facts: dict[str, Any] = field(default_factory=dict)


class FluxStem(nn.Module):
    """What Flux's nets and the nets that control them have in common: tokens, blocks, and what blocks are told."""

    layout = Layout()
    blocks: Mapping[str, Any] = {}
    """Options of BlockSizes."""

    def __init__(self, sizes: FluxSizes) -> None:
        super().__init__()
        self.sizes = sizes
        s = sizes
        made = BlockSizes(s.width, s.heads, s.hidden, **self.blocks)
        self.entrance(made)
        self.txt_in = Linear(s.context, s.width, made.bias)
        self.double_blocks = nn.ModuleList(DoubleBlock(made) for _ in range(s.doubles))
        self.single_blocks = nn.ModuleList(SingleBlock(made) for _ in range(s.singles))
        self.embedders(made)

    def entrance(self, made: BlockSizes) -> None:
        """What makes tokens of a picture."""
        self.img_in = Linear((self.sizes.channels + self.sizes.shown) * self.sizes.patch**2, made.width, made.bias)

    def entered(self, pieces: Sequence[Tensor]) -> Tensor:
        """The tokens of latents [B, C, H, W], one after the other."""
        out: Tensor = self.img_in(torch.cat([self.tokens(piece) for piece in pieces], dim=1))
        return out

    def embedders(self, made: BlockSizes) -> None:
        """What turns time and the rest into modulation."""
        s = self.sizes
        self.time_in = Embedder(FREQUENCIES, s.width, made.bias)
        if s.pooled:
            self.vector_in = Embedder(s.pooled, s.width, made.bias)
        if s.guidance:
            self.guidance_in = Embedder(FREQUENCIES, s.width, made.bias)

    def told(self, t: Tensor, x: Tensor, y: Tensor | None, guidance: Tensor | None) -> Tensor:
        """The embedded time, guidance scale and pooled text [B, width] that everything is modulated by."""
        vec = self.time_in(timestep_embedding(t * CLOCK, FREQUENCIES).to(x.dtype))
        if self.sizes.guidance and guidance is not None:
            vec = vec + self.guidance_in(timestep_embedding(guidance * CLOCK, FREQUENCIES).to(x.dtype))
        if self.sizes.pooled and y is not None:
            vec = vec + self.vector_in(y.to(x.dtype))
        return F.silu(vec)

    def shifts(self, vec: Tensor) -> Any:
        """What `for_double` and `for_single` are asked with, computed once a call."""
        return vec

    def for_double(self, i: int, vec: Any) -> tuple[Shift, Shift]:
        block: Any = self.double_blocks[i]
        return block.img_mod(vec), block.txt_mod(vec)

    def for_single(self, i: int, vec: Any) -> Shift:
        block: Any = self.single_blocks[i]
        told: Shift = block.modulation(vec)
        return told

    def tokens(self, x: Tensor) -> Tensor:
        """The latent [B, C, H, W] as what `img_in` reads."""
        return to_tokens(x, self.sizes.patch, channels_last=False)


class FluxNet(FluxStem):
    """(x [B, C, H, W], sigma [B], context [B, L, width]) -> velocity [B, C, H, W].

    Taps, by the names that packs know: "post_input" f(args, facts) after the tokens are made, "double_block" and "single_block" f(args,
    facts) after each, and "dit_replace" around them; each takes and gives a dict. "block_around" f(call, streams, facts).
    """

    tells_itself = True
    """Whether the final layer makes its own modulation."""

    def __init__(self, sizes: FluxSizes) -> None:
        super().__init__(sizes)
        self.exit(BlockSizes(sizes.width, sizes.heads, sizes.hidden, **self.blocks))

    def exit(self, made: BlockSizes) -> None:
        """What makes a picture of tokens."""
        self.final_layer = FinalLayer(made.width, self.sizes.channels * self.sizes.patch**2, made.bias, self.tells_itself)

    def for_final(self, vec: Tensor) -> Shift:
        told: Shift = self.final_layer.adaLN_modulation[1](vec).unsqueeze(1).chunk(2, dim=-1)
        return told

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, y: Tensor | None = None, guidance: Tensor | None = None,
        references: Sequence[tuple[Place, Tensor]] = (), control: Mapping[str, Sequence[Tensor | None]] | None = None,
        taps: Taps | None = None, facts: Mapping[str, Any] | None = None, shown: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """`shown` [B, shown, H, W] is joined to x; `references` [B, C, h, w] are looked at beside it, with where they stand.
        `mask` [B, T, T] is added to the scores of attention, prompt first; tokens beyond T are looked at as they are.
        `control` has residuals of the picture's tokens under "input" (after double blocks) and "output" (after single ones)."""
        height, width = x.shape[-2:]
        seen = x if shown is None else torch.cat([x, shown.to(x.dtype)], dim=1)
        seen = fitted(seen, self.sizes.patch)
        state = self.start(seen, context, references, taps, facts, x, t)
        vec = self.told(t, x, y, guidance)
        site = Site(taps, {**state.facts, "vec": vec}) if taps else None
        if mask is not None:
            missing = state.txt.shape[1] + state.img.shape[1] - mask.shape[-1]
            mask = F.pad(mask, (0, missing, 0, missing)).unsqueeze(1).to(seen.dtype)
        img = self.run(state, vec, control or {}, site, mask)
        count = (seen.shape[-2] // self.sizes.patch) * (seen.shape[-1] // self.sizes.patch)
        return self.finished(img[:, :count], vec, seen, site)[..., :height, :width]

    def finished(self, img: Tensor, vec: Tensor, seen: Tensor, site: Site | None) -> Tensor:
        """The tokens of the picture that was `seen`, as a picture."""
        out = self.final_layer(img, self.for_final(vec))
        height, width = seen.shape[-2:]
        return to_picture(out, height, width, self.sizes.patch, channels_last=False)

    def start(
        self, seen: Tensor, context: Tensor, references: Sequence[tuple[Place, Tensor]], taps: Taps | None,
        facts: Mapping[str, Any] | None, x: Tensor, t: Tensor,
    ) -> State:  # fmt: skip
        """The tokens of the picture with those of references behind, and of the prompt, and their places."""
        patch, layout, device = self.sizes.patch, self.layout, seen.device
        pieces = [((0, 0, 0), seen), *((place, fitted(picture.to(seen.dtype), patch)) for place, picture in references)]
        at = [layout.picture(p.shape[-2] // patch, p.shape[-1] // patch, device, *place) for place, p in pieces]
        img = self.entered([piece for _, piece in pieces])
        txt, img_ids, txt_ids = self.txt_in(context.to(seen.dtype)), torch.cat(at), layout.prompt(context.shape[1], device)
        if taps and taps.get("post_input"):
            told = {**(facts or {}), "net_input": x, "timesteps": t, "context": context}
            b = img.shape[0]
            args = {"img": img, "txt": txt, "img_ids": img_ids.expand(b, -1, -1), "txt_ids": txt_ids.expand(b, -1, -1)}
            for tap in taps["post_input"]:
                args = tap(args, told)
            img, txt, img_ids, txt_ids = args["img"], args["txt"], args["img_ids"][0], args["txt_ids"][0]
        by = turn(torch.cat([txt_ids, img_ids]), layout.widths(self.sizes.head), layout.theta)
        told = {**(facts or {}), "original_shape": list(x.shape), "net_input": x, "timesteps": t, "context": context, "turn": by}
        return State(img, txt, told)

    def run(
        self, state: State, vec: Tensor, control: Mapping[str, Sequence[Tensor | None]], site: Site | None, mask: Tensor | None = None
    ) -> Tensor:
        """The streams through all blocks; the picture's tokens, references behind."""
        img, txt, by = state.img, state.txt, state.facts["turn"]
        shifts = self.shifts(vec)
        length = txt.shape[1]
        for i, block in enumerate(self.double_blocks):
            told = self.for_double(i, shifts)
            if site is None:
                img, txt = block(img, txt, told, by, mask)
            else:
                img, txt = _double(block, img, txt, told, by, site.at(block=("double_block", i), block_index=i, mask=mask))
            img = _added(img, control.get("input", ()), i)
            if txt.dtype == torch.float16:
                txt = txt.clamp(-LARGEST, LARGEST)
        x = torch.cat([txt, img], dim=1)
        for i, block in enumerate(self.single_blocks):
            single = self.for_single(i, shifts)
            if site is None:
                x = block(x, single, by, mask)
            else:
                x = _single(block, x, single, by, site.at(block=("single_block", i), block_index=i, mask=mask), length)
            if i < len(control.get("output", ())):
                x = torch.cat([x[:, :length], _added(x[:, length:], control["output"], i)], dim=1)
            if x.dtype == torch.float16:
                x = x.clamp(-LARGEST, LARGEST)
        return x[:, length:]


def _added(img: Tensor, residuals: Sequence[Tensor | None], i: int) -> Tensor:
    """The picture's tokens with the control's i-th residual, which speaks of the first of them."""
    residual = residuals[i] if i < len(residuals) else None
    if residual is None:
        return img
    count = residual.shape[1]
    return torch.cat([img[:, :count] + residual.to(img.dtype), img[:, count:]], dim=1) if count < img.shape[1] else img + residual.to(img)


def _double(block: nn.Module, img: Tensor, txt: Tensor, told: tuple[Shift, Shift], by: Any, site: Site) -> tuple[Tensor, Tensor]:
    """A double block with its taps."""

    def plain(streams: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        instead = site.replacement("dit_replace")
        if instead is None:
            out: tuple[Tensor, Tensor] = block(*streams, told, by, site.facts["mask"])
            return out
        args = {
            "img": streams[0],
            "txt": streams[1],
            "vec": site.facts["vec"],
            "pe": by,
            "attn_mask": site.facts["mask"],
            "transformer_options": site.facts,
        }

        def original(args: dict[str, Any]) -> dict[str, Any]:
            img, txt = block(args["img"], args["txt"], told, args["pe"], args.get("attn_mask"))
            return {"img": img, "txt": txt}

        made: Any = instead(args, {"original_block": original})
        return made["img"], made["txt"]

    around: Any = site.around
    img, txt = around("block_around", plain, (img, txt))
    args: Any = {"img": img, "txt": txt, "x": site.facts["net_input"], "block_index": site.facts["block_index"]}
    args = site.fold("double_block", args)
    return args["img"], args["txt"]


def _single(block: nn.Module, x: Tensor, told: Shift, by: Any, site: Site, length: int) -> Tensor:
    """A single block with its taps."""

    def plain(x: Tensor) -> Tensor:
        instead = site.replacement("dit_replace")
        if instead is None:
            out: Tensor = block(x, told, by, site.facts["mask"])
            return out
        args = {"img": x, "vec": site.facts["vec"], "pe": by, "attn_mask": site.facts["mask"], "transformer_options": site.facts}

        def original(args: dict[str, Any]) -> dict[str, Any]:
            return {"img": block(args["img"], told, args["pe"], args.get("attn_mask"))}

        made: Any = instead(args, {"original_block": original})
        return made["img"]

    x = site.around("block_around", plain, x)
    args: Any = {"img": x, "txt": x[:, :length], "x": site.facts["net_input"], "block_index": site.facts["block_index"]}
    args = site.fold("single_block", args)
    return args["img"]
