"""ControlNet-LLLite by kohya-ss: beside many linear layers of a net a small net that looks at a picture and adds to what goes in.

A module has `down`, `mid` and `up`, a linear layer each; `conditioning1` (or what else begins with `cond`) makes of the picture, in
-1..1, what `mid` is shown beside the layer's input: y = layer(x + strength * up(relu(mid([seen, relu(down(x))])))). It is a row of
convolutions without overlap and a ReLU between them, of each module's own or one for all.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.adapters.patches import Picture
from backend.adapters.places import attention_places, module_at
from backend.base.errors import BadInput, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members, members_in
from backend.families.cosmos.net import ENTRANCE, PATCH, CosmosSizes
from backend.families.sd.unet import UNetSizes
from backend.imaging.resize import resize
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Conv2d, Linear
from backend.weights.complete import require
from backend.weights.file import Renamed, Views, WeightFile, identity

MARK = "lllite"
"""What names begin with, mostly; then a word for the kind of net, perhaps, and the layer's name with underscores for dots."""
SHARED = "shared"
_PART = re.compile(r"(?:(.+?)[._])?(cond[a-z_]*1?|down|mid|up)\.(?:(\d+)\.)?(weight|bias)")
_COSMOS = re.compile(r"(blocks\.\d+\.(?:self_attn\.(?:[qkv]|output)_proj|cross_attn\.(?:q|output)_proj|mlp\.layer[12]))\.weight")
"""Layers whose input is the picture's tokens."""
_UNET = {"attn1": ("to_q", "to_k", "to_v"), "attn2": ("to_q",)}
"""The same of a transformer block in a UNet, in the order in which the taps have their inputs."""

Eye = tuple[tuple[int, int, int], ...]
"""(channels in, channels out, side) of each convolution."""


@dataclass(frozen=True)
class Shape:
    """Of one module."""

    width: int
    """Of the layer's input."""
    low: int
    seen: int


class Looking(nn.Module):
    """A picture [B, C, H, W] -> [B, seen, H / cells, W / cells]."""

    def __init__(self, eye: Eye) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv2d(cin, cout, side, stride=side) for cin, cout, side in eye)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = conv(F.relu(x) if i else x)
        return x


class Module(nn.Module):
    """What is added to a layer's input x [B, T, width]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.seen = shape.seen
        self.down, self.up = Linear(shape.width, shape.low), Linear(shape.low, shape.width)
        self.mid = Linear(shape.seen + shape.low, shape.low)

    def told(self, seen: Tensor) -> Tensor:
        """The part of `mid` that stays the same from step to step: seen [B, seen, h, w] -> [B, h * w, low]."""
        return F.linear(seen.flatten(2).transpose(1, 2), self.mid.get("weight", seen)[:, : self.seen], self.mid.get("bias", seen))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        low = F.linear(F.relu(self.down(x)), self.mid.get("weight", x)[:, self.seen :])
        out: Tensor = self.up(F.relu(low + told))
        return out


class LLLiteNet(nn.Module):
    def __init__(self, shapes: Mapping[str, Shape], eyes: Mapping[str, Eye]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: Module(shape) for name, shape in shapes.items()})
        self.eyes = nn.ModuleDict({name: Looking(eye) for name, eye in eyes.items()})


@dataclass(frozen=True)
class LLLite:
    """Such a file. Modules go by the names of their layers, with underscores."""

    file: WeightFile
    loadable: Loadable
    shapes: Mapping[str, Shape]
    eyes: Mapping[str, Eye]
    """By module, or one for all under SHARED."""

    @property
    def title(self) -> str:
        return f"The model patch {self.file.path.name}, a ControlNet-LLLite,"

    def eye(self, module: str) -> str:
        return module if module in self.eyes else SHARED

    def steered(self, model: ModelHandle, picture: Picture) -> ModelHandle:
        if picture.image is None:
            raise BadInput(f"{self.title} needs a control picture.", hint="Connect one.", input="image")
        known = _layers(model)
        layers = {name: known.get(name) or known.get(name.partition("_")[2], "") for name in self.shapes}
        alien = next((name for name, layer in layers.items() if not layer), None)
        if alien is not None:
            raise BadInput(
                f"{self.title} steers the layer {alien}, which is none of {model.family.name} that looks at the picture.",
                hint="Use a patch made for this kind of model, or load the model it was made for.",
                input="model_patch",
            )
        for name, shape in self.shapes.items():
            width = model.loadable.source[f"{layers[name]}.weight"].shape[1]
            if width != shape.width:
                raise BadInput(
                    f"{self.title} is for layers {shape.width} wide; {layers[name]} of this {model.family.name} model is {width} wide.",
                    hint="Load the model it was made for.",
                    input="model_patch",
                )
        if isinstance(model.sizes, CosmosSizes):
            wanted = model.family.latent.factor * PATCH
            cells = {prod(side for *_, side in eye) for eye in self.eyes.values()}
            if cells != {wanted}:
                raise BadInput(
                    f"{self.title} sees a picture in cells of {sorted(cells)[0]} pixels; {model.family.name} works in cells of {wanted}.",
                    hint="Load the model it was made for.",
                    input="model_patch",
                )
            return model.with_tap(ENTRANCE, Steering(self, picture, {layers[name]: name for name in self.shapes}))
        for tap in _UNET:
            mine = {layers[name]: name for name in self.shapes if f".{tap}." in layers[name]}
            if mine:
                model = model.with_tap(f"{tap}_patch", Steering(self, picture, mine, tap))
        return model


def _layers(model: ModelHandle) -> dict[str, str]:
    """Layers that can be steered by their names with underscores, in every spelling; none for other families."""
    sizes = model.sizes
    if isinstance(sizes, CosmosSizes):
        own = [match[1] for key in model.loadable.source if (match := _COSMOS.fullmatch(key))]
    elif isinstance(sizes, UNetSizes):
        places = [module_at(place) for place, _ in attention_places(sizes)]
        own = [f"{place}.{attention}.{layer}" for place in places for attention, layers in _UNET.items() for layer in layers]
    else:
        return {}
    theirs = {key: other for key, other in model.spellings().items() if isinstance(other, str)}
    spelled = {_flat(theirs[f"{name}.weight"].removesuffix(".weight")): name for name in own if f"{name}.weight" in theirs}
    return spelled | {_flat(name): name for name in own}


def _flat(name: str) -> str:
    return name.replace(".", "_")


@dataclass(frozen=True, eq=False)
class Steering:
    """A patch with its picture, among the taps of a model."""

    patch: LLLite
    picture: Picture
    modules: Mapping[str, str]
    """Of the patch, by the layer's name in the net."""
    attention: str = ""
    """Of a UNet, whose taps have three inputs."""

    @contextmanager
    def bind(self, model: ModelHandle, pool: Pool) -> Iterator[Bound | BoundAttention]:
        with pool.lease(self.patch.loadable) as net:
            bound = Bound(self, cast(LLLiteNet, net), model)
            yield BoundAttention(bound, self.attention) if self.attention else bound


class Bound:
    """For the length of one sampling; the picture is looked at once a size."""

    def __init__(self, tap: Steering, net: LLLiteNet, model: ModelHandle) -> None:
        self.tap, self.net, self.factor = tap, net, model.family.latent.factor
        self.first, self.last = (model.noise.percent_to_sigma(part) for part in (tap.picture.start, tap.picture.end))
        self._seen: dict[Any, Tensor] = {}
        self._told: dict[Any, Tensor] = {}

    def __call__(self, x: Tensor, name: str, facts: Mapping[str, Any]) -> Tensor:
        module = self.tap.modules.get(name)
        if module is None or not self.last <= float(facts["sigmas"][0]) <= self.first:
            return x
        told = self._about(module, facts["original_shape"][-2:], x)
        if x.shape[1] % told.shape[1]:
            raise BadInput(
                f"{self.tap.patch.title} sees the picture as {told.shape[1]} cells, but {name} looks at {x.shape[1]}.",
                hint="Take patches that cut the attention into tiles away, or load the model it was made for.",
            )
        told = for_members(told, len(x), members_in(facts)).repeat(1, x.shape[1] // told.shape[1], 1)
        more: Tensor = self.net.parts[module](x, told)
        return x + more * self.tap.picture.strength

    def _about(self, module: str, size: Any, x: Tensor) -> Tensor:
        """What a module knows of the picture, [B, cells, low]."""
        key = (module, *size)
        if key not in self._told:
            part = cast(Module, self.net.parts[module])
            self._told[key] = part.told(self._looked(self.tap.patch.eye(module), size, x))
        return self._told[key]

    def _looked(self, eye: str, size: Any, x: Tensor) -> Tensor:
        """The picture through an eye, [B, seen, rows, columns]; kept where all modules share it."""
        key = (eye, *size)
        if key in self._seen:
            return self._seen[key]
        image = self.tap.picture.image
        assert image is not None
        height, width = (int(side) * self.factor for side in size)
        pixels = resize(image[..., :3].movedim(-1, 1).to(x.device), width, height, "area", "center") * 2 - 1
        cell = prod(side for *_, side in self.tap.patch.eyes[eye])
        pixels = F.pad(pixels, (0, -width % cell, 0, -height % cell), mode="replicate")
        seen: Tensor = self.net.eyes[eye](pixels.to(x.dtype))
        if eye == SHARED:
            self._seen[key] = seen
        return seen


class BoundAttention:
    """The same for the inputs of queries, keys and values of a UNet's attention."""

    def __init__(self, bound: Bound, attention: str) -> None:
        self.bound, self.attention = bound, attention

    def __call__(self, x: Tensor, context: Tensor, value: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, ...]:
        start = f"{module_at((*facts['block'], facts['block_index']))}.{self.attention}."
        given = dict(zip(("to_q", "to_k", "to_v"), (x, context, value), strict=True))
        return tuple(self.bound(tokens, start + layer, facts) for layer, tokens in given.items())


def read(file: WeightFile, dtype: torch.dtype) -> LLLite | None:
    """The patch in a file, or None where it is of another kind. Raises UnknownModel for one of a make that is not known, BadFile for a
    damaged one."""
    parts = {(match[1] or "", match[2]) for key in file if (match := _PART.fullmatch(key))}
    groups = {group for group, part in parts if part == "mid"}
    if not any(key.startswith(MARK) for key in file) and not any({(group, "down"), (group, "up")} <= parts for group in groups):
        return None
    names: dict[str, str] = {}
    eyes: dict[str, dict[int, tuple[int, int, int]]] = {}
    for key in file:
        match = _PART.fullmatch(key)
        if match is None:
            raise _unknown(file, key)
        group, part, number, leaf = match[1] or "", match[2], int(match[3] or 0), match[4]
        name = _module(group)
        if not part.startswith("cond"):
            if number or len(file[key].shape) > 2:
                raise _unknown(file, key)
            names[f"parts.{name}.{part}.{leaf}"] = key
            continue
        if group not in groups:
            name = SHARED
        if leaf == "weight":
            cout, cin, *sides = file[key].shape
            if number % 2 or len(sides) != 2 or sides[0] != sides[1] or sides[0] % 2 or (not number and cin != 3):
                raise _unknown(file, key)
            eyes.setdefault(name, {})[number // 2] = (cin, cout, sides[0])
        if names.setdefault(f"eyes.{name}.convs.{number // 2}.{leaf}", key) != key:
            raise _unknown(file, key)
    named = Renamed(file, names)
    looking = {name: tuple(convs[i] for i in sorted(convs)) for name, convs in eyes.items()}
    shapes = {}
    for name in map(_module, sorted(groups)):
        if name not in looking and SHARED not in looking:
            raise _unknown(file, f"{name}.mid.0.weight")
        low, width = named[f"parts.{name}.down.weight"].shape
        shapes[name] = Shape(width, low, named[f"parts.{name}.mid.weight"].shape[1] - low)
    build = functools.partial(LLLiteNet, shapes, looking)
    left = require(build, named, "a ControlNet-LLLite")
    if left:
        raise _unknown(file, names[left[0]])
    return LLLite(file, Loadable(f"{identity(file)}#patch", build, Views(named), dtype=dtype), shapes, looking)


def _module(group: str) -> str:
    """The name of a module's layer, with underscores, and perhaps a word for the kind of net before it."""
    return _flat(group).removeprefix(f"{MARK}_")


def _unknown(file: WeightFile, key: str) -> UnknownModel:
    return UnknownModel(
        f"{file.path.name} is a ControlNet-LLLite of a make that is not known: what its tensor {key} does cannot be told from its name.",
        hint="Known are modules of conditioning1, down, mid and up for pictures of three channels.",
        file=file.path,
    )
