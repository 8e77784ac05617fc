"""`comfy.clip_vision`: picture encoders, what they give, and how pictures are prepared for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import comfy.model_management
from backend.base.errors import UnknownModel
from backend.imaging.resize import resize
from backend.packs.facade import Dressed
from backend.packs.host import HOST

_HIDDEN = ("image_embeds", "last_hidden_state", "penultimate_hidden_states", "all_hidden_states")


class Output(Dressed):
    """Attributes by name, also with []."""

    all_hidden_states: Any = None
    mm_projected: Any = None

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, item: Any) -> None:
        setattr(self, key, item)

    def undressed(self) -> Any:
        from backend.encoders.clip_vision.handle import VisionOutput

        return VisionOutput(*(getattr(self, name, None) for name in _HIDDEN))  # type: ignore[arg-type]  # packs may leave parts out


def dress_output(ours: Any) -> Output:
    made = Output()
    for name in _HIDDEN:
        setattr(made, name, getattr(ours, name))
    return made


def clip_preprocess(
    image: Any,
    size: int = 224,
    mean: Any = (0.48145466, 0.4578275, 0.40821073),
    std: Any = (0.26862954, 0.26130258, 0.27577711),
    crop: bool = True,
) -> Any:
    """[B, H, W, C] in 0..1 -> [B, 3, size, size], normalised."""
    x = image[..., :3].movedim(-1, 1)
    if x.shape[2:] != (size, size):
        if crop:
            scale = size / min(x.shape[2], x.shape[3])
            x = resize(x, round(scale * x.shape[3]), round(scale * x.shape[2]), "bicubic")
            top, left = (x.shape[2] - size) // 2, (x.shape[3] - size) // 2
            x = x[:, :, top : top + size, left : left + size]
        else:
            x = resize(x, size, size, "bicubic")
    x = torch.clip(255.0 * x, 0, 255).round() / 255.0
    return (x - torch.tensor(mean).view(3, 1, 1).to(x)) / torch.tensor(std).view(3, 1, 1).to(x)


class ClipVisionModel(Dressed):
    """A picture encoder."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.image_size = handle.sizes.side
        self.image_mean, self.image_std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
        self.load_device, self.dtype = comfy.model_management.get_torch_device(), handle.loadable.dtype
        self.patcher = self

    @property
    def model(self) -> Any:
        """The net, without its weights."""
        with torch.device("meta"):
            return self.handle.loadable.build()

    def encode_image(self, image: Any, crop: bool = True) -> Output:
        """[B, H, W, C] in 0..1."""
        return dress_output(self.handle.encode_image(image, HOST.services.pool, crop))

    def get_sd(self) -> dict[str, Any]:
        return dict(self.handle.loadable.source)

    def undressed(self) -> Any:
        return self.handle


def dress(handle: Any) -> ClipVisionModel:
    return ClipVisionModel(handle)


def load(ckpt_path: str) -> ClipVisionModel:
    """The encoder in a file. Raises MissingFile, BadFile, UnknownModel."""
    from backend.families.load import load_vision

    return ClipVisionModel(load_vision(Path(ckpt_path), HOST.services))


def load_clipvision_from_sd(sd: Any, prefix: str = "", convert_keys: bool = False) -> ClipVisionModel:
    """The encoder of weights in memory; those with `prefix` when one is given."""
    from backend.encoders.clip_vision.spec import from_file
    from comfy.lora import StateDict

    kept = StateDict({k.removeprefix(prefix): v for k, v in sd.items() if k.startswith(prefix)})
    services = HOST.services
    handle = from_file(kept, services.device.compute_dtype("text_encoder", services.settings))
    if handle is None:
        raise UnknownModel("These weights are no CLIP image encoder that is known here.", hint="This is a fault of the node pack.")
    return ClipVisionModel(handle)
