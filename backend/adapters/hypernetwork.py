"""Hypernetworks: small nets that change what attentions read, one pair for each width of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadFile, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.families.load import Services
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import LayerNorm, Linear
from backend.weights.complete import require
from backend.weights.detect import sample_of
from backend.weights.file import Header, Renamed, Views, WeightFile, identity
from backend.weights.open import open_weights

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x, "relu": F.relu, "leakyrelu": F.leaky_relu, "elu": F.elu, "swish": F.hardswish, "tanh": F.tanh,
    "sigmoid": F.sigmoid, "softsign": F.softsign, "mish": F.mish, "softplus": F.softplus, "gelu": F.gelu, "silu": F.silu, "selu": F.selu,
}  # fmt: skip
KEY = re.compile(r"(\d+)\.([01])\.linear\.(\d+)\.(weight|bias)")


@dataclass(frozen=True)
class Shape:
    """The layers of every net by its place: width, 0 for keys and 1 for values; (cin, cout) for linear ones, (width,) for norms."""

    nets: tuple[tuple[tuple[int, int], tuple[tuple[int, ...], ...]], ...]
    activation: str
    activate_output: bool


class One(nn.Module):
    """Linear layers with an activation after each, the last excepted, and norms."""

    def __init__(self, layers: tuple[tuple[int, ...], ...], shape: Shape) -> None:
        super().__init__()
        self.act, self.layers = (
            ACTIVATIONS[shape.activation],
            nn.ModuleList(LayerNorm(s[0]) if len(s) == 1 else Linear(s[0], s[1]) for s in layers),
        )
        last = max(i for i, s in enumerate(layers) if len(s) == 2)
        self.quiet = last if not shape.activate_output else -1

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if isinstance(layer, Linear) and i != self.quiet:
                x = self.act(x)
        return x


class HyperNet(nn.Module):
    """All nets of a file, named by width and place."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({f"{width}_{place}": One(layers, shape) for (width, place), layers in shape.nets})

    def change(self, place: int, x: Tensor, strength: float) -> Tensor:
        """x + strength · net(x), for what is as wide as one of the nets."""
        key = f"{x.shape[-1]}_{place}"
        return x + self.nets[key](x) * strength if key in self.nets else x


@dataclass(frozen=True, eq=False)
class Hypernetwork:
    """A tap on both attentions, to be bound for one sampling."""

    loadable: Loadable
    strength: float

    @contextmanager
    def bind(self, model: ModelHandle, pool: Pool) -> Iterator[Callable[..., tuple[Tensor, Tensor, Tensor]]]:
        with pool.lease(self.loadable) as net:
            assert isinstance(net, HyperNet)

            def tap(q: Tensor, k: Tensor, v: Tensor, facts: Any) -> tuple[Tensor, Tensor, Tensor]:
                return q, net.change(0, k, self.strength), net.change(1, v, self.strength)

            yield tap


def load_hypernetwork(path: Path | str, services: Services, strength: float) -> Hypernetwork:
    """The hypernetwork in a file. Raises MissingFile, BadFile, UnknownModel, and BadFile for an activation that is not known."""
    file = open_weights(path)
    extras: Mapping[str, Any] = getattr(file, "extras", file.metadata)
    activation = str(extras.get("activation_func") or "linear").lower()
    if activation not in ACTIVATIONS:
        text = f"{file.path.name} is a hypernetwork with the activation {activation:.40}, which is not known."
        raise BadFile(text, hint=f"Known are {', '.join(ACTIVATIONS)}.", file=file.path)
    if not any(KEY.fullmatch(key) for key in file):
        text = f"{file.path.name} holds no hypernetwork: its tensors are named {sample_of(file)}."
        raise UnknownModel(text, hint="Choose a hypernetwork file.", file=file.path)
    named = _named(file)
    shape = Shape(_nets(named), activation, extras.get("activate_output") in (True, "True", "true"))
    build = functools.partial(HyperNet, shape)
    require(build, named, "a hypernetwork")
    dtype = services.device.compute_dtype("unet", services.settings)
    return Hypernetwork(Loadable(f"{identity(file)}#hypernetwork", build, Views(named), dtype=dtype), strength)


def _named(file: WeightFile) -> WeightFile:
    """The file under the net's names: layers are counted without what lies between them."""
    found = {key: match for key in file if (match := KEY.fullmatch(key))}
    numbers: dict[tuple[str, str], list[int]] = {}
    for match in found.values():
        numbers.setdefault((match[1], match[2]), []).append(int(match[3]))
    names = {}
    for key, match in found.items():
        at = sorted(set(numbers[(match[1], match[2])])).index(int(match[3]))
        names[f"nets.{match[1]}_{match[2]}.layers.{at}.{match[4]}"] = key
    return Renamed(file, names)


def _nets(header: Header) -> tuple[tuple[tuple[int, int], tuple[tuple[int, ...], ...]], ...]:
    layers: dict[tuple[int, int], dict[int, tuple[int, ...]]] = {}
    for name, entry in header.items():
        _, place, _, number, leaf = name.split(".")
        if leaf == "weight":
            width, which = place.split("_")
            layers.setdefault((int(width), int(which)), {})[int(number)] = entry.shape[::-1]
    return tuple((place, tuple(shapes[i] for i in sorted(shapes))) for place, shapes in sorted(layers.items()))
