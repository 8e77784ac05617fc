"""T2I-Adapter files: whole and light ones, for SD 1 and XL, in both spellings."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput
from backend.control.control import Control, Runner
from backend.control.hints import check, fitted
from backend.control.kind import Setting
from backend.control.residuals import Residuals
from backend.control.t2i.net import Adapter, AdapterSizes
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Loadable
from backend.weights.complete import require
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, Views, WeightFile, identity

XL_UNSHUFFLE, UNSHUFFLE = 16, 8
CELL = 8
"""Pixels of the picture per side of a latent cell."""
PREFIX = "adapter."


def net_names(file: WeightFile) -> WeightFile | None:
    """The file under the net's own names, or None where it holds no adapter."""
    if any(key.startswith((PREFIX + "body.", PREFIX + "conv_in.")) for key in file):
        return Renamed(file, from_diffusers(file))
    whole = "conv_in.weight" in file and "body.0.block1.weight" in file
    return file if whole or "body.0.body.0.block1.weight" in file else None


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name for every key of an adapter in diffusers' layout."""
    keys = [key for key in keys if key.startswith(PREFIX)]
    light = any(".out_conv." in key for key in keys)
    blocks = 1 + max((int(m[1]) for key in keys if (m := re.match(r"adapter\.body\.0\.resnets\.(\d+)\.", key))), default=0)
    names = {}
    for key in keys:
        name = key.removeprefix(PREFIX)
        found = re.fullmatch(r"body\.(\d+)\.(?:resnets\.(\d+)\.)?(.+)", name)
        if found is None:
            names[name] = key
        elif light:
            names[f"body.{found[1]}.{f'body.{found[2]}.' if found[2] else ''}{found[3]}"] = key
        else:
            names[f"body.{int(found[1]) * blocks + int(found[2] or 0)}.{found[3]}"] = key
    return names


def adapter_sizes(header: Header) -> AdapterSizes:
    """Sizes from shapes. Raises KeyError for a missing weight."""
    levels = count(header, "body")
    if "body.0.in_conv.weight" in header and "body.0.out_conv.weight" in header:
        cin = header["body.0.in_conv.weight"].shape[1]
        inner = tuple(header[f"body.{i}.in_conv.weight"].shape[0] for i in range(levels))
        channels = tuple(header[f"body.{i}.out_conv.weight"].shape[0] for i in range(levels))
        return AdapterSizes(cin // UNSHUFFLE**2, UNSHUFFLE, channels, count(header, "body.0.body"), inner=inner)
    cin = header["conv_in.weight"].shape[1]
    xl = cin % XL_UNSHUFFLE**2 == 0
    unshuffle = XL_UNSHUFFLE if xl else UNSHUFFLE
    widths = tuple(header[f"body.{i}.block1.weight"].shape[0] for i in range(levels))
    kernel = header["body.0.block2.weight"].shape[-1]
    learned = any(key.endswith("down_opt.op.weight") for key in header)
    return AdapterSizes(cin // unshuffle**2, unshuffle, widths[::2], 2, kernel, xl=xl, learned_halving=learned)


@dataclass(frozen=True)
class T2IAdapter:
    """An adapter."""

    file: WeightFile
    """Under the net's names."""
    sizes: AdapterSizes
    setting: Setting

    @property
    def title(self) -> str:
        return f"the T2I-Adapter {self.file.path.name}, which is for {'SDXL' if self.sizes.xl else 'SD 1.x'},"

    def loadable(self, model: ModelHandle) -> Loadable:
        unet = model.sizes
        if not isinstance(unet, UNetSizes) or not self._fits(unet):
            raise BadInput(
                f"The T2I-Adapter {self.file.path.name} is for {'SDXL' if self.sizes.xl else 'SD 1.x'}, the model is {model.family.name}.",
                hint="Use an adapter made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        key = f"{identity(self.file)}#control"
        return Loadable(key, functools.partial(Adapter, self.sizes), Views(self.file), dtype=self.setting.dtype)

    def _fits(self, unet: UNetSizes) -> bool:
        """Whether this UNet could take the maps. SDXL has no attention in its first level, SD 1 and its smaller kin have."""
        xl = unet.depth_in[0] == 0
        return self.sizes.xl == xl and self.sizes.channels == ((*unet.channels, unet.channels[-1]) if xl else unet.channels)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner:
        assert isinstance(net, Adapter)
        return T2IRunner(self, net, model.sizes, control)


class T2IRunner:
    """Runs the adapter once a size; its maps stay the same for all steps."""

    def __init__(self, source: T2IAdapter, net: Adapter, unet: UNetSizes, control: Control) -> None:
        check(control.hint, source.sizes.picture_channels, source.title)
        self.source, self.net, self.unet, self.control = source, net, unet, control
        self._maps: dict[tuple[int, int], list[Tensor]] = {}

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        height, width = x.shape[-2:]
        if (height, width) not in self._maps:
            assert self.control.hint is not None
            unit = self.source.sizes.unshuffle
            size = (math.ceil(width * CELL / unit) * unit, math.ceil(height * CELL / unit) * unit)
            picture = fitted(self.control.hint, *size, self.source.sizes.picture_channels)
            self._maps[(height, width)] = self.net(picture.to(x.device, self.source.setting.dtype))
        maps = [for_members(m, x.shape[0], members) for m in self._maps[(height, width)]]
        return placed(maps, self.unet, self.source.sizes.xl)


def placed(maps: list[Tensor], unet: UNetSizes, xl: bool) -> Residuals:
    """Which block of the way down each map is added after.

    SD 1: after the last residual block of each level. XL: the first after the first level's halving, the last in the middle.
    """
    ends = [sum(unet.res_blocks[: level + 1]) + level for level in range(len(unet.channels))]
    at = dict(zip([ends[0] + 1, *ends[1:]] if xl else ends, maps, strict=False))
    made: list[Tensor | None] = [at.get(i) for i in range(max(at) + 1)]
    return {"input": made[::-1], **({"middle": [maps[-1]]} if xl else {})}


class AdapterKind:
    """Whole and light adapters."""

    def read(self, file: WeightFile, setting: Setting) -> T2IAdapter | None:
        named = net_names(file)
        if named is None:
            return None
        try:
            sizes = adapter_sizes(named)
        except (KeyError, ValueError, ZeroDivisionError) as error:
            text = f"{file.path.name} looks like a T2I-Adapter, but the weight {error.args[0]} is missing."
            raise BadFile(text, hint="The file is incomplete: fetch it again.", file=file.path) from error
        require(functools.partial(Adapter, sizes), named, "a T2I-Adapter")
        return T2IAdapter(named, sizes, setting)
