"""ControlNet files for Qwen Image: union and inpainting."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput
from backend.control.control import Control, Runner
from backend.control.kind import Setting
from backend.control.qwen.net import QwenControlNet, QwenControlSizes
from backend.control.residuals import Residuals
from backend.diffusion.denoiser import as_net_sees
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members
from backend.families.qwen_image import sizes as stem_sizes
from backend.families.qwen_image.net import PATCH, QwenSizes, whole
from backend.memory.pool import Loadable
from backend.weights.complete import require
from backend.weights.file import Header, Views, WeightFile, identity

MARKS = ("controlnet_x_embedder.weight", "controlnet_blocks.0.weight", "txt_norm.weight", "transformer_blocks.0.img_mod.1.weight")


def control_sizes(header: Header) -> QwenControlSizes:
    """Sizes from shapes. Raises KeyError for a missing weight, ValueError for a contradiction."""
    return QwenControlSizes(stem_sizes(header), header["controlnet_x_embedder.weight"].shape[1] // (PATCH * PATCH))


@dataclass(frozen=True)
class QwenControl:
    """A ControlNet with weights of its own."""

    file: WeightFile
    sizes: QwenControlSizes
    setting: Setting

    @property
    def title(self) -> str:
        return f"the ControlNet {self.file.path.name}, which is for Qwen Image,"

    @property
    def takes_mask(self) -> bool:
        """Whether it is told where the picture has a hole."""
        return self.sizes.shown > self.sizes.stem.channels

    def loadable(self, model: ModelHandle) -> Loadable:
        ours, theirs = self.sizes.stem, model.sizes
        if not isinstance(theirs, QwenSizes) or (ours.width, ours.context) != (theirs.width, theirs.context):
            raise BadInput(
                f"The ControlNet {self.file.path.name} is for Qwen Image, the model is {model.family.name}.",
                hint="Use a ControlNet made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        build = functools.partial(QwenControlNet, self.sizes)
        return Loadable(f"{identity(self.file)}#control", build, Views(self.file), dtype=self.setting.dtype)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner:
        assert isinstance(net, QwenControlNet)
        return QwenRunner(self, net, model, control)


class QwenRunner:
    """Runs the net; the picture is encoded once a size."""

    def __init__(self, source: QwenControl, net: QwenControlNet, model: ModelHandle, control: Control) -> None:
        self.source, self.net, self.model, self.control = source, net, model, control
        self._shown: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        noisy, t, _ = as_net_sees(self.model.noise, x, sigma, self.source.setting.dtype)
        shown = for_members(self._seen(x), x.shape[0], members)
        context: Tensor = inputs["context"].squeeze(1).to(noisy.dtype)
        residuals = self.net(whole(noisy), t, context, whole(shown.to(noisy)))
        return {f"blocks{len(residuals)}": residuals}

    def _seen(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W], the same for every frame."""
        size = tuple(x.shape[2:])
        if size not in self._shown:
            seen = self.control.latent(self.model, size[1], size[2], keep=self.source.takes_mask)
            self._shown[size] = seen[:, :, :1].expand(-1, -1, size[0], -1, -1).to(x.device)
        return self._shown[size]


class QwenKind:
    """Whole nets."""

    def read(self, file: WeightFile, setting: Setting) -> QwenControl | None:
        if not all(mark in file for mark in MARKS):
            return None
        try:
            sizes = control_sizes(file)
        except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
            text = f"{file.path.name} looks like a ControlNet for Qwen Image, but its weights contradict each other ({error})."
            raise BadFile(text, hint="The file is incomplete or damaged: fetch it again.", file=file.path) from error
        require(functools.partial(QwenControlNet, sizes), file, "a ControlNet")
        return QwenControl(file, sizes, setting)
