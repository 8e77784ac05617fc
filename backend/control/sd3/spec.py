"""ControlNet files for Stable Diffusion 3 and 3.5: InstantX (canny, pose, tile), Alimama (inpainting), Stability (blur, canny, depth)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput
from backend.control.control import Control, Runner
from backend.control.kind import Setting
from backend.control.residuals import Residuals
from backend.control.sd3.net import SD3ControlNet, SD3ControlSizes
from backend.diffusion.denoiser import as_net_sees
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members
from backend.families.sd3 import HEAD, names
from backend.families.sd3.net import PATCH, SD3Sizes
from backend.memory.pool import Loadable
from backend.nn.patchify import fitted
from backend.weights.complete import require
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Header, Origin, Renamed, Views, WeightFile, identity, keys_of

MARKS = ("pos_embed_input.proj.weight", "controlnet_blocks.0.weight")
SINGLE: Mapping[str, str] = {
    "adaLN_modulation.1": "x_block.adaLN_modulation.1",
    "attn.qkv": "x_block.attn.qkv",
    "attn.proj": "x_block.attn.proj",
    "mlp.fc1": "x_block.mlp.fc1",
    "mlp.fc2": "x_block.mlp.fc2",
}
"""Inside a block of Stability's single files -> inside one of ours."""
KIND = "control_type"
CANNY, DEPTH = 1, 2
BORROWED = ("x_embedder.proj.weight", "x_embedder.proj.bias", "pos_embed")
POOLED = tuple(f"y_embedder.mlp.{i}.{leaf}" for i in (0, 2) for leaf in ("weight", "bias"))


def under_our_names(file: WeightFile) -> WeightFile:
    """The file under the names of our net."""
    layers = count(file, names.THEIRS)
    ours = [f"{module}.{leaf}" for module in names.ENDS for leaf in names.LEAVES] + ["pos_embed"]
    ours += [f"{names.OURS}.{i}.{module}.{leaf}" for i in range(layers) for module in names.BLOCK for leaf in names.LEAVES]
    table: dict[str, Origin] = dict(_existing(names.origins(ours, layers + 1, 0), file))
    for key in file:
        kind, _, rest = key.partition(".")
        number, _, inside = rest.partition(".")
        module, _, leaf = inside.rpartition(".")
        if kind == names.THEIRS and module in SINGLE:
            table[f"{names.OURS}.{number}.{SINGLE[module]}.{leaf}"] = key
        elif kind in ("controlnet_blocks", "pos_embed_input", "t_embedder", "y_embedder"):
            table[key] = key
    if _twice(file):
        table |= {f"own_{key}": key for key in POOLED}
        for key in POOLED:
            del table[key]
    return Renamed(file, table)


def _existing(table: Mapping[str, Origin], file: Header) -> Iterable[tuple[str, Origin]]:
    return ((name, origin) for name, origin in table.items() if all(key in file for key in keys_of(origin)))


def _twice(file: Header) -> bool:
    entry = file.get(POOLED[0])
    return entry is not None and entry.shape[0] == entry.shape[1]


def control_sizes(header: Header) -> SD3ControlSizes:
    """Sizes from shapes under our names. Raises KeyError for a missing weight, ValueError for a contradiction."""
    width, shown = header["pos_embed_input.proj.weight"].shape[:2]
    reads = "context_embedder.weight" in header
    twice = "own_y_embedder.mlp.0.weight" in header
    norm = header.get("joint_blocks.0.x_block.attn.ln_q.weight")
    layers = count(header, "joint_blocks")
    stem = SD3Sizes(
        channels=header["x_embedder.proj.weight"].shape[1] if reads else shown,
        width=width,
        heads=width // (HEAD if norm is None else norm.shape[0]),
        hidden=header["joint_blocks.0.x_block.mlp.fc1.weight"].shape[0],
        layers=layers,
        context=header["context_embedder.weight"].shape[1] if reads else 0,
        pooled=0 if twice else header["y_embedder.mlp.0.weight"].shape[1],
        places=round(header["pos_embed"].shape[1] ** 0.5) if reads else 0,
        normed=norm is not None,
        dual=tuple(i for i in range(layers) if f"joint_blocks.{i}.x_block.attn2.qkv.weight" in header),
    )
    return SD3ControlSizes(stem, shown, reads, twice)


@dataclass(frozen=True)
class SD3Control:
    """A ControlNet; one that does not read the prompt borrows from the model how it begins."""

    file: WeightFile
    sizes: SD3ControlSizes
    setting: Setting
    kind: int = -1
    """Which of Stability's it says to be."""

    @property
    def title(self) -> str:
        return f"the ControlNet {self.file.path.name}, which is for Stable Diffusion 3,"

    @property
    def takes_mask(self) -> bool:
        """Whether it is told where the picture has a hole."""
        return self.sizes.shown > self.sizes.stem.channels

    def loadable(self, model: ModelHandle) -> Loadable:
        ours, theirs = self.sizes.stem, model.sizes
        if not isinstance(theirs, SD3Sizes) or ours.width != theirs.width or ours.context not in (0, theirs.context):
            other = "Stable Diffusion 3" if isinstance(theirs, SD3Sizes) else model.family.name
            here = f" of width {ours.width}" if isinstance(theirs, SD3Sizes) else ""
            there = f" of width {theirs.width}" if isinstance(theirs, SD3Sizes) else ""
            raise BadInput(
                f"The ControlNet {self.file.path.name} is for Stable Diffusion 3{here}, the model is {other}{there}.",
                hint="Use a ControlNet made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        sizes, source, key = self.sizes, Views(self.file), f"{identity(self.file)}#control"
        if not sizes.reads:
            sizes = replace(sizes, stem=replace(ours, places=theirs.places, pooled=theirs.pooled))
            names = (*BORROWED, *(POOLED if sizes.twice else ()))
            return Loadable(
                f"{key} beside {model.loadable.key}", functools.partial(SD3ControlNet, sizes),
                {**source, **{name: model.loadable.source[name] for name in names}}, dtype=self.setting.dtype,
            )  # fmt: skip
        return Loadable(key, functools.partial(SD3ControlNet, sizes), source, dtype=self.setting.dtype)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner:
        assert isinstance(net, SD3ControlNet)
        return SD3Runner(self, net, model, control)


class SD3Runner:
    """Runs the net; the picture is encoded once a size."""

    def __init__(self, source: SD3Control, net: SD3ControlNet, model: ModelHandle, control: Control) -> None:
        self.source, self.net, self.model = source, net, model
        self.control = control if control.hint is None else replace(control, hint=_prepared(control.hint, source.kind))
        self._shown: dict[tuple[int, int], Tensor] = {}

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        noisy, t, _ = as_net_sees(self.model.noise, x, sigma, self.source.setting.dtype)
        noisy = fitted(noisy, PATCH)
        shown = for_members(self._seen(x), x.shape[0], members).to(noisy)
        y: Tensor = inputs["y"].to(noisy.dtype)
        reads = self.source.sizes.reads
        made = self.net.residuals(noisy, t, inputs["context"] if reads else None, torch.zeros_like(y) if reads else y, fitted(shown, PATCH))
        layers = self.model.sizes.layers
        each = layers / len(made)
        return {"output": [*(made[int(i / each)] for i in range(layers - 1)), None]}

    def _seen(self, x: Tensor) -> Tensor:
        """[B, shown, H, W]. Nets that read the prompt and know of no holes were trained on latents that are scaled and not shifted."""
        size = (x.shape[-2], x.shape[-1])
        if size not in self._shown:
            seen = self.control.latent(self.model, *size, keep=self.source.takes_mask)
            if self.source.sizes.reads and not self.source.takes_mask:
                latent = self.model.family.latent
                seen = seen + latent.shift * latent.scale
            self._shown[size] = seen.to(x.device)
        return self._shown[size]


def _prepared(hint: Tensor, kind: int) -> Tensor:
    """Pictures as Stability's nets were shown them: edges as large numbers, depth with what is near in black."""
    if kind == CANNY:
        return (hint * 127.5 + 1.5) / 2
    return 1 - hint if kind == DEPTH else hint


class SD3Kind:
    """Whole nets, in diffusers' names or Stability's."""

    def read(self, file: WeightFile, setting: Setting) -> SD3Control | None:
        blocks = ("transformer_blocks.0.norm1.linear.weight", "transformer_blocks.0.adaLN_modulation.1.weight")
        if not all(mark in file for mark in MARKS) or not any(block in file for block in blocks):
            return None
        named = under_our_names(file)
        try:
            sizes = control_sizes(named)
        except MALFORMED as error:
            text = f"{file.path.name} looks like a ControlNet for Stable Diffusion 3, but its weights contradict each other ({error})."
            raise BadFile(text, hint="The file is incomplete or damaged: fetch it again.", file=file.path) from error
        if sizes.reads:
            require(functools.partial(SD3ControlNet, sizes), named, "a ControlNet for Stable Diffusion 3")
        kind = round(float(file.tensor(KIND).reshape(-1)[0])) if KIND in file else -1
        return SD3Control(named, sizes, setting, kind)
