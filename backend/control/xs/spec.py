"""ControlNet-XS files, in diffusers' layout."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput
from backend.control.control import Control
from backend.control.hints import check, fitted
from backend.control.kind import Setting
from backend.control.residuals import Residuals
from backend.control.xs import names
from backend.control.xs.net import ControlNetXS, XSSizes
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members
from backend.families import kin
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Loadable
from backend.weights.complete import require
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, Views, WeightFile, identity
from backend.weights.folder import read_json

CONFIG = "config.json"


def sizes_of(header: Header, config: Mapping[str, Any]) -> XSSizes:
    """Sizes from shapes, and what only the configuration tells. Raises KeyError, ValueError."""
    channels: list[int] = []
    base: list[int] = []
    depths: list[int] = []
    fresh = True
    for n in range(count(header, "blocks")):
        width, other = header[f"says.{n + 1}.weight"].shape[1], header[f"says.{n + 1}.weight"].shape[0]
        if f"blocks.{n}.0.op.weight" in header:
            fresh = True
            continue
        if fresh:
            channels.append(width)
            base.append(other)
        fresh = False
        depths.append(count(header, f"blocks.{n}.1.transformer_blocks"))
    hint = sorted(int(key.split(".")[1]) for key in header if key.startswith("input_hint_block.") and key.endswith(".weight"))
    heads = config["num_attention_heads"]
    return XSSizes(
        base=tuple(base),
        channels=tuple(channels),
        depth_in=tuple(depths),
        depth_middle=count(header, "middle_block.1.transformer_blocks"),
        context=header["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        heads=tuple(heads) if isinstance(heads, list) else (int(heads),) * len(channels),
        linear=len(header["middle_block.1.proj_in.weight"].shape) == 2,
        hint_channels=header["input_hint_block.0.weight"].shape[1],
        hint_widths=tuple(header[f"input_hint_block.{n}.weight"].shape[0] for n in hint[:-1]),
        time=float(config.get("time_embedding_mix", 1.0)) if "time_embed.0.weight" in header else None,
        flipped=config.get("conditioning_channel_order", "rgb") == "bgr",
    )


@dataclass(frozen=True)
class XSControl:
    """A ControlNet-XS."""

    file: WeightFile
    """Under the net's names."""
    sizes: XSSizes
    setting: Setting

    @property
    def title(self) -> str:
        return f"the ControlNet-XS {self.file.path.name}, which is for {self._made_for},"

    @property
    def _made_for(self) -> str:
        return kin.of_unet(self.sizes.context, len(self.sizes.channels) == 3)

    def loadable(self, model: ModelHandle) -> Loadable:
        unet, s = model.sizes, self.sizes
        if not isinstance(unet, UNetSizes) or (unet.channels, unet.context, unet.depth_in) != (s.base, s.context, s.depth_in):
            raise BadInput(
                f"The ControlNet-XS {self.file.path.name} is for {self._made_for}, the model is {model.family.name}.",
                hint="Use a ControlNet-XS made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        build = functools.partial(ControlNetXS, s)
        return Loadable(f"{identity(self.file)}#control", build, Views(self.file), dtype=self.setting.dtype)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> XSRunner:
        assert isinstance(net, ControlNetXS)
        return XSRunner(self, net, control)


class XSRunner:
    """Takes part in each run of the UNet through its taps; keeps its own maps from block to block."""

    def __init__(self, source: XSControl, net: ControlNetXS, control: Control) -> None:
        check(control.hint, net.sizes.hint_channels, source.title)
        self.net, self.control, self.dtype = net, control, source.setting.dtype
        self._hints: dict[tuple[int, int], Tensor] = {}
        self._skips: list[Tensor] = []
        self._base = torch.empty(0)
        self._turn, self._members = 0, 1

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        """Nothing to add from outside; only the size of the batch is remembered."""
        self._members = members
        return {}

    def taps(self) -> Mapping[str, tuple[Any, ...]]:
        """For the UNet, in the steps that are steered."""
        return {
            "emb_patch": (self._embedding,),
            "input_block_patch": (self._down,),
            "middle_block_patch": (self._middle,),
            "output_block_patch": (self._up,),
        }

    def _embedding(self, emb: Tensor, channels: int, facts: Mapping[str, Any]) -> Tensor:
        return self.net.embedding(facts["timesteps"], emb)

    def _down(self, h: Tensor, facts: Mapping[str, Any]) -> Tensor:
        number = facts["block"][1]
        if number == 0:
            x: Tensor = facts["net_input"]
            own = self.net.conv_in(x) + for_members(self._hint(x), x.shape[0], self._members)
            self._skips, self._turn = [], 0
        else:
            own = self.net.down(number, self._skips[-1], self._base, facts["emb"], facts["context"])
        self._skips.append(own)
        out: Tensor = h + self.net.says[number](own) * self.control.strength
        self._base = out
        return out

    def _middle(self, h: Tensor, facts: Mapping[str, Any]) -> Tensor:
        own = self.net.middle(self._skips[-1], self._base, facts["emb"], facts["context"])
        out: Tensor = h + self.net.says[-1](own) * self.control.strength
        return out

    def _up(self, h: Tensor, skip: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        h = h + self.net.says_up[self._turn](self._skips.pop()) * self.control.strength
        self._turn += 1
        return h, skip

    def _hint(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if (height, width) not in self._hints:
            assert self.control.hint is not None
            scale = self.net.sizes.scale
            picture = fitted(self.control.hint, width * scale, height * scale, self.net.sizes.hint_channels)
            self._hints[(height, width)] = self.net.hint(picture.to(x))
        return self._hints[(height, width)]


class XSKind:
    """ControlNet-XS."""

    def read(self, file: WeightFile, setting: Setting) -> XSControl | None:
        if names.MARK not in file:
            return None
        config = file.path.parent / CONFIG
        if not config.is_file():
            raise BadInput(
                f"The number of attention heads of the ControlNet-XS {file.path.name} stands in its {CONFIG}, which is not beside it.",
                hint=f"Keep the file in a folder of its own, together with its {CONFIG}.",
                file=file.path,
            )
        named = Renamed(file, names.from_diffusers(file))
        try:
            sizes = sizes_of(named, read_json(config))
        except (KeyError, ValueError, TypeError) as error:
            text = f"{file.path.name} looks like a ControlNet-XS, but {error.args[0]} is missing or wrong."
            raise BadFile(text, hint="The file or its configuration is incomplete: fetch both again.", file=file.path) from error
        require(functools.partial(ControlNetXS, sizes), named, "a ControlNet-XS")
        return XSControl(named, sizes, setting)
