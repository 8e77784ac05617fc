"""ControlNet files for Flux: InstantX and Shakker (one kind and union), Alimama (inpainting), and XLabs."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput
from backend.control.control import Control, Runner
from backend.control.flux.net import STRIDES, FluxControlNet, FluxControlSizes
from backend.control.hints import fitted
from backend.control.kind import Setting
from backend.control.residuals import Residuals
from backend.diffusion.denoiser import as_net_sees
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members
from backend.families.flux import MARK
from backend.families.flux.names import Names
from backend.families.flux.net import FluxSizes
from backend.memory.pool import Loadable
from backend.weights.complete import require
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Header, Origin, Renamed, Views, WeightFile, identity

PATCH = 2
PIXELS = 8
NAMES = Names(mark="transformer_blocks.")
OWN = ("controlnet_blocks.", "controlnet_single_blocks.", "controlnet_mode_embedder.", "pos_embed_input.", "input_hint_block.")
SHOWN = "controlnet_x_embedder."
"""What diffusers calls `pos_embed_input`."""
SEES_PIXELS = "input_hint_block.0.weight"


def under_our_names(file: WeightFile) -> WeightFile | None:
    """The file under the names of our net, or None where it is no ControlNet for Flux."""
    if "controlnet_blocks.0.weight" not in file:
        return None
    if MARK in file:  # XLabs
        return file
    table: dict[str, Origin] = dict(NAMES.from_diffusers(file))
    table.pop("final_layer.linear.weight", None)
    table |= {key: key for key in file if key.startswith(OWN)}
    table |= {f"{OWN[3]}{key.removeprefix(SHOWN)}": key for key in file if key.startswith(SHOWN)}
    layers = ["conv_in", *(f"blocks.{i}" for i in range(len(STRIDES) - 2)), "conv_out"]
    for i, layer in enumerate(layers):
        table |= {
            f"input_hint_block.{2 * i}.{leaf}": key for leaf in ("weight", "bias") if (key := f"input_hint_block.{layer}.{leaf}") in file
        }
    return Renamed(file, table) if MARK in table and "img_in.weight" in table else None


def control_sizes(header: Header) -> FluxControlSizes:
    """Sizes from shapes under our names. Raises KeyError for a missing weight, ValueError for a contradiction."""
    width, cin = header["img_in.weight"].shape
    vector, guidance = "vector_in.in_layer.weight", "guidance_in.in_layer.weight"
    stem = FluxSizes(
        channels=cin // PATCH**2,
        patch=PATCH,
        width=width,
        heads=width // header[MARK].shape[0],
        hidden=header["double_blocks.0.img_mlp.0.weight"].shape[0],
        doubles=count(header, "double_blocks"),
        singles=count(header, "single_blocks"),
        context=header["txt_in.weight"].shape[1],
        pooled=header[vector].shape[1] if vector in header else 0,
        guidance=guidance in header,
    )
    mode = header.get("controlnet_mode_embedder.weight")
    picture = header["pos_embed_input.weight"].shape[1] // PATCH**2
    return FluxControlSizes(stem, picture, SEES_PIXELS in header, None if mode is None else mode.shape[0])


@dataclass(frozen=True)
class FluxControl:
    """A ControlNet with weights of its own."""

    file: WeightFile
    named: WeightFile
    sizes: FluxControlSizes
    setting: Setting

    @property
    def title(self) -> str:
        return f"the ControlNet {self.file.path.name}, which is for Flux,"

    @property
    def takes_mask(self) -> bool:
        """Whether it is told where the picture has a hole."""
        return not self.sizes.pixels and self.sizes.picture > self.sizes.stem.channels

    def loadable(self, model: ModelHandle) -> Loadable:
        ours, theirs = self.sizes.stem, model.sizes
        fits = isinstance(theirs, FluxSizes) and theirs.patch == PATCH and theirs.pooled == ours.pooled
        if not fits or (ours.width, ours.context) != (theirs.width, theirs.context):
            raise BadInput(
                f"The ControlNet {self.file.path.name} is for Flux, the model is {model.family.name}.",
                hint="Use a ControlNet made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        build = functools.partial(FluxControlNet, self.sizes)
        return Loadable(f"{identity(self.file)}#control", build, Views(self.named), dtype=self.setting.dtype)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner:
        assert isinstance(net, FluxControlNet)
        return FluxRunner(self, net, model, control)


class FluxRunner:
    """Runs the net; the picture's tokens are made once a size."""

    def __init__(self, source: FluxControl, net: FluxControlNet, model: ModelHandle, control: Control) -> None:
        self.source, self.net, self.model, self.control = source, net, model, control
        self._shown: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        noisy, t, _ = as_net_sees(self.model.noise, x, sigma, self.source.setting.dtype)
        shown = for_members(self._tokens(noisy), x.shape[0], members)
        told = {name: inputs[name].to(noisy.dtype) for name in ("y", "guidance") if name in inputs}
        double, single = self.net(noisy, t, inputs["context"], shown, types=self.control.types, **told)
        sizes = self.model.sizes
        if self.source.sizes.pixels:
            return {"input": [double[i % len(double)] for i in range(sizes.doubles)]}
        return {"input": spread(double, sizes.doubles), "output": spread(single, sizes.singles)}

    def _tokens(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[2:])
        if size not in self._shown:
            if self.source.sizes.pixels:
                assert self.control.hint is not None
                hint = fitted(self.control.hint, size[1] * PIXELS, size[0] * PIXELS, 3) * 2 - 1
            else:
                hint = self.control.latent(self.model, size[0], size[1], keep=self.source.takes_mask)
            self._shown[size] = self.net.shown(hint.to(x))
        return self._shown[size]


def spread(residuals: Sequence[Tensor], blocks: int) -> list[Tensor | None]:
    """One for each of the model's blocks: each residual serves as many in a row."""
    each = math.ceil(blocks / len(residuals)) if residuals else 1
    return [residuals[i // each] for i in range(blocks)] if residuals else []


class FluxKind:
    """Whole nets."""

    def read(self, file: WeightFile, setting: Setting) -> FluxControl | None:
        named = under_our_names(file)
        if named is None:
            return None
        try:
            sizes = control_sizes(named)
            if not sizes.pixels and sizes.picture < sizes.stem.channels:
                raise ValueError(f"a picture of {sizes.picture} channels")
        except MALFORMED as error:
            text = f"{file.path.name} looks like a ControlNet for Flux, but its weights contradict each other ({error})."
            raise BadFile(text, hint="The file is incomplete or damaged: fetch it again.", file=file.path) from error
        require(functools.partial(FluxControlNet, sizes), named, "a ControlNet")
        return FluxControl(file, named, sizes, setting)
