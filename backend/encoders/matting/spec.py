"""Which background removal model a file holds, and masks of pictures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.matting.net import MattingNet, MattingSizes
from backend.encoders.swin import swin_sizes
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Rename, apply
from backend.weights.open import open_weights

SIDE = 1024
"""Of the square pictures the published nets were trained on."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RULES = (Rename(r"(?:(?:model|module|_orig_mod|birefnet)\.)*((?:bb|squeeze_module|decoder)\..*)", r"\1"),)


@dataclass(frozen=True)
class MattingModel:
    """One background removal model."""

    loadable: Loadable
    sizes: MattingSizes
    side: int = SIDE
    """Of the squares as which it sees pictures."""

    @torch.no_grad()
    def masks(self, images: Tensor, pool: Pool) -> Tensor:
        """How surely each pixel of `images` [B, H, W, 3] in 0..1 is foreground, [B, H, W] in 0..1."""
        mean, deviation = torch.tensor(MEAN).reshape(3, 1, 1), torch.tensor(DEVIATION).reshape(3, 1, 1)
        found = []
        for image in images:
            pixels = F.interpolate(image[None, ..., :3].movedim(-1, 1).float(), (self.side, self.side), mode="bilinear", antialias=True)
            with pool.lease(self.loadable, self._working()) as net:
                sure: Tensor = net(((pixels - mean) / deviation).to(pool.device, self.loadable.dtype)).float().sigmoid().cpu()
            found.append(F.interpolate(sure, images.shape[1:3], mode="bilinear", antialias=True)[0, 0].clamp(0, 1))
        return torch.stack(found)

    def _working(self) -> int:
        """The last look at the picture at its full size, and the branches at a quarter of it."""
        fine = self.sizes.channels[-1]
        return self.loadable.dtype.itemsize * self.side**2 * (2 * fine + (len(self.sizes.kernels) + 4) * self.sizes.branch // 16)


def load_matting_model(path: Path | str, dtype: torch.dtype = torch.float32) -> MattingModel:
    """BiRefNet on a Swin transformer (the general, portrait, matting and lite files), in the authors' names.

    Raises MissingFile, BadFile, UnknownModel.
    """
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = _sizes(mapped)
        with torch.device("meta"):
            net = MattingNet(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except (KeyError, ZeroDivisionError, ValueError) as error:
        text = f"{file.path.name} is no background removal model that is known: it has no {error.args[0]}."
        hint = "BiRefNet on a Swin transformer is known, for example birefnet.safetensors."
        raise UnknownModel(text, hint=hint, file=file.path) from error
    if odd is not None:
        text = f"{file.path.name} is a background removal model whose {odd} has an unexpected shape."
        raise BadFile(text, hint="It is damaged, or of a make that is not known.", file=file.path)
    return MattingModel(Loadable(f"{identity(file)}#matting", functools.partial(MattingNet, sizes), Views(mapped), dtype=dtype), sizes)


def _sizes(file: WeightFile) -> MattingSizes:
    name = "squeeze_module.0.dec_att.aspp_deforms"
    branches = [file[f"{name}.{i}.atrous_conv.regular_conv.weight"].shape for i in range(count(file, name))]
    first = file["squeeze_module.0.dec_att.aspp1.atrous_conv.regular_conv.weight"].shape
    return MattingSizes(swin_sizes(file, "bb."), tuple(shape[-1] for shape in branches), inner=first[1], branch=first[0])
