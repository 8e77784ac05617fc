"""Blockwise ControlNets for Qwen Image by DiffSynth Studio: after each block, a picture's latent is compared with what the net made.

Parameter names are those of the published files.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.adapters.patches import Picture, Shown
from backend.base.errors import BadInput
from backend.diffusion.batching import repeated
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members, members_in
from backend.families.qwen_image.net import PATCH, QwenSizes, film_tokens, whole
from backend.imaging.resize import resize
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Linear, RMSNorm
from backend.weights.complete import require
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity

MARKS = ("controlnet_blocks.0.y_rms.weight", "controlnet_blocks.0.input_proj.weight", "img_in.weight")


class Comparison(nn.Module):
    """Tokens of the net x and of the picture y, [B, T, width] -> what is added to x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.x_rms, self.y_rms = RMSNorm(width), RMSNorm(width)
        self.input_proj, self.output_proj = Linear(width, width), Linear(width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.output_proj(F.gelu(self.input_proj(self.x_rms(x) + self.y_rms(y))))
        return out


class BlockwiseControl(nn.Module):
    """`img_in` makes tokens of a latent; a comparison for each block of the net."""

    def __init__(self, width: int, shown: int, layers: int) -> None:
        super().__init__()
        self.img_in = Linear(shown, width)
        self.controlnet_blocks = nn.ModuleList(Comparison(width) for _ in range(layers))


@dataclass(frozen=True)
class QwenBlockwise:
    """Such a file."""

    file: WeightFile
    loadable: Loadable
    width: int
    layers: int
    told: int
    """Channels of a latent that say where the picture has a hole: 0 or 1."""

    @property
    def title(self) -> str:
        return f"The model patch {self.file.path.name}, which is for Qwen Image,"

    def steered(self, model: ModelHandle, picture: Picture) -> ModelHandle:
        sizes = model.sizes
        if not isinstance(sizes, QwenSizes) or (sizes.width, sizes.layers) != (self.width, self.layers):
            raise BadInput(
                f"The model patch {self.file.path.name} is for Qwen Image, the model is {model.family.name}.",
                hint="Use a patch made for this kind of model, or load the model it was made for.",
                input="model_patch",
            )
        if picture.image is None:
            raise BadInput(f"{self.title} needs a control picture.", hint="Connect one.", input="image")
        model.family.latent.check_vae(picture.vae.channels)
        return model.with_tap("double_block", Shown(self, picture, Bound))


class Bound:
    """For the length of one sampling; the picture is encoded once a size."""

    def __init__(self, tap: Shown, net: BlockwiseControl, model: ModelHandle, pool: Pool) -> None:
        self.tap, self.net, self.model, self.pool = tap, net, model, pool
        self._tokens: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, h: Tensor, text: Tensor, facts: dict[str, Any]) -> tuple[Tensor, Tensor]:
        shown = for_members(self._shown(facts["latent"]), len(h), members_in(facts))
        made = h[:, : shown.shape[1]]
        more = self.net.controlnet_blocks[facts["block_index"]](made, shown) * self.tap.picture.strength
        return torch.cat([made + more, h[:, shown.shape[1] :]], dim=1), text

    def _shown(self, latent: Tensor) -> Tensor:
        size = tuple(latent.shape[-2:])
        if size not in self._tokens:
            seen = self._encoded(size[0], size[1]).to(latent)
            self._tokens[size] = self.net.img_in(film_tokens(whole(seen)))
        return self._tokens[size]

    def _encoded(self, height: int, width: int) -> Tensor:
        """[B, channels, 1, height, width] as the net sees latents, and one channel more for nets that are told of holes."""
        picture, wanted = self.tap.picture, self.model.family.latent
        assert picture.image is not None
        height_of, width_of = height * wanted.factor, width * wanted.factor
        pixels = resize(picture.image[..., :3].movedim(-1, 1), width_of, height_of, "area", "center").movedim(1, -1)
        seen = wanted.process_in(torch.cat([picture.vae.encode(one, self.pool) for one in torch.split(pixels, 1)]))
        if not self.tap.patch.told:
            return seen
        keep = torch.ones_like(seen[:, :1])
        if picture.mask is not None:
            mask = picture.mask.reshape(-1, 1, *picture.mask.shape[-2:])
            keep = repeated((1 - resize(mask, width, height, "bilinear", "disabled")).unsqueeze(2).to(seen), len(seen))
        return torch.cat([seen, keep], dim=1)


def read(file: WeightFile, dtype: torch.dtype) -> QwenBlockwise | None:
    """The patch in a file, or None where it is of another kind. Raises BadFile for a damaged one."""
    if not all(mark in file for mark in MARKS):
        return None
    width, shown = file["img_in.weight"].shape
    layers = count(file, "controlnet_blocks")
    build = functools.partial(BlockwiseControl, width, shown, layers)
    require(build, file, "a model patch for Qwen Image")
    told = shown // (PATCH * PATCH) - 16
    return QwenBlockwise(file, Loadable(f"{identity(file)}#patch", build, Views(file), dtype=dtype), width, layers, told)
