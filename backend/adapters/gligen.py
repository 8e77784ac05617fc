"""GLIGEN (Li et al. 2023, arXiv:2301.07093): things in boxes, by gated self-attention between a UNet's own attentions.

Parameter names are those of the published files, where fusers lie at the places of the UNet's transformer blocks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.adapters.places import Place, attention_places
from backend.base.errors import BadInput, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.families import kin
from backend.families.load import Services
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Loadable, Pool
from backend.nn.blocks import Attention, FeedForward
from backend.nn.layers import Layer, LayerNorm, Linear
from backend.weights.complete import require
from backend.weights.detect import sample_of
from backend.weights.file import Renamed, Views, WeightFile, identity
from backend.weights.open import open_weights

FUSER = re.compile(r"(?:.*\.)?(input_blocks\.(\d+)|middle_block|output_blocks\.(\d+))\.1\.transformer_blocks\.(\d+)\.fuser\.(.+)")
POSITION = re.compile(r"(?:.*\.)?(position_net\..+)")
MOST = 30
"""Boxes the nets were trained with; the rest is filled with learned nothing."""
FREQUENCIES = 8
UNCOND = 1
HEADS, HEAD_WIDTH, SD1_TEXT = 8, 64, 768

Box = tuple[Tensor, int, int, int, int]
"""(pooled text [1, width], height, width, top, left), in latent cells."""


@dataclass(frozen=True)
class GligenSizes:
    text: int
    """Width of the pooled text."""
    out: int
    """Width of a grounding token."""
    widths: tuple[int, ...]
    """Of the transformer blocks."""
    hidden: int = 512


class Fuser(Layer):
    """x + tanh(α) attention([x, boxes]) and a gated feed-forward (eq. 8); x [B, T, width], boxes [B, n, cin]."""

    def __init__(self, width: int, cin: int, heads: int) -> None:
        super().__init__()
        self.linear = Linear(cin, width)
        self.attn, self.ff = Attention(width, width, heads), FeedForward(width)
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.alpha_attn, self.alpha_dense = nn.Parameter(torch.empty(())), nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        n = self.norm1(torch.cat([x, self.linear(boxes)], dim=1))
        seen: Tensor = self.attn(n[:, : x.shape[1]], n)
        x = x + self.get("alpha_attn", x).tanh() * seen
        out: Tensor = x + self.get("alpha_dense", x).tanh() * self.ff(self.norm2(x))
        return out


class PositionNet(Layer):
    """Texts [n, width] and boxes [n, 4] (left, top, right, bottom in 0..1) with a mask [n] -> tokens [n, out] (eq. 5)."""

    def __init__(self, sizes: GligenSizes) -> None:
        super().__init__()
        place, hidden = FREQUENCIES * 8, sizes.hidden
        self.linears = nn.ModuleList(
            [Linear(sizes.text + place, hidden), nn.SiLU(), Linear(hidden, hidden), nn.SiLU(), Linear(hidden, sizes.out)]
        )
        self.null_positive_feature, self.null_position_feature = nn.Parameter(torch.empty(sizes.text)), nn.Parameter(torch.empty(place))

    def forward(self, texts: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        angles = 100 ** (torch.arange(FREQUENCIES, device=boxes.device) / FREQUENCIES) * boxes[..., None].float()
        place = torch.stack([angles.sin(), angles.cos()], dim=-1).permute(0, 2, 3, 1).flatten(1).to(texts)
        m = mask[:, None].to(texts)
        place = place * m + (1 - m) * self.get("null_position_feature", texts)
        texts = texts * m + (1 - m) * self.get("null_positive_feature", texts)
        h: Tensor = torch.cat([texts, place], dim=-1)
        for i in (0, 2):
            h = F.silu(self.linears[i](h))
        out: Tensor = self.linears[4](h)
        return out


class GligenNet(nn.Module):
    """The two parts of a file."""

    def __init__(self, sizes: GligenSizes) -> None:
        super().__init__()
        heads = [HEADS if sizes.out == SD1_TEXT else max(1, width // HEAD_WIDTH) for width in sizes.widths]
        self.position_net = PositionNet(sizes)
        self.fusers = nn.ModuleList(Fuser(width, sizes.out, h) for width, h in zip(sizes.widths, heads, strict=True))


@dataclass(frozen=True)
class Gligen:
    """What travels on a GLIGEN wire."""

    file: WeightFile
    """Under the net's names, fusers counted in the order of `places`."""
    sizes: GligenSizes
    places: tuple[Place, ...]
    dtype: torch.dtype

    def placed(self, boxes: Sequence[Box]) -> Grounding:
        """With things in boxes; what the conditioning's "gligen" entry means."""
        return Grounding(self, tuple(boxes))


@dataclass(frozen=True, eq=False)
class Grounding:
    """Boxes, to be bound for one sampling."""

    gligen: Gligen
    boxes: tuple[Box, ...]

    @contextmanager
    def bind(self, model: ModelHandle, pool: Pool) -> Iterator[Mapping[str, tuple[Any, ...]]]:
        """The taps that ground a run. Raises BadInput for a model of another family and for texts of another width."""
        gligen, sizes = self.gligen, model.sizes
        found = dict(attention_places(sizes)) if isinstance(sizes, UNetSizes) else {}
        if [found.get(place) for place in gligen.places] != list(gligen.sizes.widths):
            made_for = kin.of_unet(gligen.sizes.out, False)
            raise BadInput(
                f"The GLIGEN model {gligen.file.path.name} is for {made_for}, the model is {model.family.name}.",
                hint="Use a GLIGEN model made for this kind of model.",
                file=gligen.file.path,
            )
        wrong = next((box[0].shape[-1] for box in self.boxes if box[0].shape[-1] != gligen.sizes.text), None)
        if wrong is not None:
            text = f"The text for a box is {wrong} wide, the GLIGEN model {gligen.file.path.name} takes {gligen.sizes.text}."
            raise BadInput(text, hint="Encode it with the text encoder of the model.")
        build = functools.partial(GligenNet, gligen.sizes)
        loadable = Loadable(f"{identity(gligen.file)}#gligen", build, Views(gligen.file), dtype=gligen.dtype)
        with pool.lease(loadable) as net:
            assert isinstance(net, GligenNet)
            yield {"middle_patch": (Running(net, gligen.places, self.boxes[:MOST]),)}


class Running:
    """The tap between self-attention and cross-attention."""

    def __init__(self, net: GligenNet, places: Sequence[Place], boxes: Sequence[Box]) -> None:
        self.fusers = dict(zip(places, net.fusers, strict=True))
        self.net, self.boxes = net, boxes
        self._tokens: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, facts: Mapping[str, Any]) -> Tensor:
        block, number = facts["block"]
        fuser = self.fusers.get((block, number, facts["block_index"]))
        if fuser is None:
            return x
        boxed, empty = self._grounds(x, facts["original_shape"])
        roles: Sequence[int] = facts["cond_or_uncond"]
        rows = x.shape[0] // len(roles)
        tokens = torch.cat([(empty if role == UNCOND else boxed).expand(rows, -1, -1) for role in roles])
        out: Tensor = fuser(x, tokens)
        return out

    def _grounds(self, x: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Grounding tokens [1, 30, out] for the boxes, and for none; made once a size."""
        height, width = shape[-2:]
        if (height, width) not in self._tokens:
            text = self.net.position_net.null_positive_feature.shape[0]
            texts, boxes, mask = x.new_zeros(MOST, text), x.new_zeros(MOST, 4, dtype=torch.float32), x.new_zeros(MOST)
            for i, (emb, h, w, top, left) in enumerate(self.boxes):
                texts[i] = emb.reshape(-1).to(x)
                boxes[i] = torch.tensor([left / width, top / height, (left + w) / width, (top + h) / height])
                mask[i] = 1
            net = self.net.position_net
            self._tokens[(height, width)] = (net(texts, boxes, mask)[None], net(texts, boxes, torch.zeros_like(mask))[None])
        return self._tokens[(height, width)]


def load_gligen(path: Path | str, services: Services) -> Gligen:
    """The GLIGEN model in a file; only the header is read. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    matches = {key: match for key in file if (match := FUSER.fullmatch(key))}
    names = {match[1]: key for key in file if (match := POSITION.fullmatch(key))}
    if not matches or "position_net.linears.0.weight" not in names:
        text = f"{file.path.name} holds no GLIGEN model for text boxes: its tensors are named {sample_of(file)}."
        raise UnknownModel(text, hint="Choose a GLIGEN file.", file=file.path)
    order = ("input", "middle", "output")
    places = sorted({_place(match) for match in matches.values()}, key=lambda p: (order.index(p[0]), p[1], p[2]))
    for key, match in matches.items():
        names[f"fusers.{places.index(_place(match))}.{match[5]}"] = key
    named = Renamed(file, names)
    widths = tuple(named[f"fusers.{i}.linear.weight"].shape[0] for i in range(len(places)))
    sizes = GligenSizes(
        text=named["position_net.null_positive_feature"].shape[0],
        out=named["fusers.0.linear.weight"].shape[1],
        widths=widths,
        hidden=named["position_net.linears.0.weight"].shape[0],
    )
    require(functools.partial(GligenNet, sizes), named, "a GLIGEN model")
    return Gligen(named, sizes, tuple(places), services.device.compute_dtype("unet", services.settings))


def _place(match: re.Match[str]) -> Place:
    return match[1].split("_", 1)[0], int(match[2] or match[3] or 0), int(match[4])
