"""`comfy.utils`: files, pictures, progress, state dicts."""

from __future__ import annotations

import io
import itertools
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps

from backend.diffusion.batching import repeated
from backend.engine.context import Preview
from backend.imaging.resize import lanczos as _lanczos
from backend.imaging.resize import resize
from backend.imaging.slerp import bislerp as _bislerp
from backend.packs.host import HOST
from backend.weights.file import Views
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors

PROGRESS_BAR_ENABLED = True
PROGRESS_BAR_HOOK: Any = None
MMAP_TORCH_FILES = False
DISABLE_MMAP = False


def load_torch_file(ckpt: Any, safe_load: bool = False, device: Any = None, return_metadata: bool = False) -> Any:
    """The tensors of a weight file by name. No code in a file is ever run."""
    file = open_weights(Path(ckpt))
    sd = {k: v if device is None else v.to(device) for k, v in Views(file).items()}
    if not return_metadata and len(sd) and all(k.startswith("state_dict.") for k in sd):
        sd = {k.removeprefix("state_dict."): v for k, v in sd.items()}
    return (sd, dict(file.metadata) or None) if return_metadata else sd


def save_torch_file(sd: Any, ckpt: Any, metadata: Any = None) -> None:
    """Written whole or not at all."""
    save_safetensors(Path(ckpt), {k: v.contiguous().cpu() for k, v in sd.items()}, metadata)


def safetensors_header(safetensors_path: Any, max_size: int = 100 * 2**20) -> Any:
    with open(safetensors_path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        return f.read(size) if size <= max_size else None


def calculate_parameters(sd: Any, prefix: str = "") -> int:
    return sum(v.nelement() for k, v in sd.items() if k.startswith(prefix))


def weight_dtype(sd: Any, prefix: str = "") -> Any:
    """The dtype most values have."""
    counts: dict[Any, int] = {}
    for key, value in sd.items():
        if key.startswith(prefix):
            counts[value.dtype] = counts.get(value.dtype, 0) + value.numel()
    return max(counts, key=counts.__getitem__) if counts else None


def state_dict_key_replace(state_dict: Any, keys_to_replace: Any) -> Any:
    for old, new in keys_to_replace.items():
        if old in state_dict:
            state_dict[new] = state_dict.pop(old)
    return state_dict


def state_dict_prefix_replace(state_dict: Any, replace_prefix: Any, filter_keys: bool = False) -> Any:
    out = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for key in [k for k in state_dict if k.startswith(old)]:
            out[new + key[len(old) :]] = state_dict.pop(key)
    return out


def unet_to_diffusers(unet_config: Any) -> dict[str, str]:
    """diffusers name -> name in our nets, for a UNet of these sizes."""
    from backend.families.sd.names import from_diffusers

    return {v: k for k, v in from_diffusers([]).items()}


UNET_MAP_BASIC = {
    ("label_emb.0.0.weight", "class_embedding.linear_1.weight"),
    ("label_emb.0.0.bias", "class_embedding.linear_1.bias"),
    ("label_emb.0.2.weight", "class_embedding.linear_2.weight"),
    ("label_emb.0.2.bias", "class_embedding.linear_2.bias"),
    ("input_blocks.0.0.weight", "conv_in.weight"),
    ("input_blocks.0.0.bias", "conv_in.bias"),
    ("out.0.weight", "conv_norm_out.weight"),
    ("out.0.bias", "conv_norm_out.bias"),
    ("out.2.weight", "conv_out.weight"),
    ("out.2.bias", "conv_out.bias"),
    ("time_embed.0.weight", "time_embedding.linear_1.weight"),
    ("time_embed.0.bias", "time_embedding.linear_1.bias"),
    ("time_embed.2.weight", "time_embedding.linear_2.weight"),
    ("time_embed.2.bias", "time_embedding.linear_2.bias"),
}


def repeat_to_batch_size(tensor: Any, batch_size: int, dim: int = 0) -> Any:
    if tensor.shape[dim] > batch_size:
        return tensor.narrow(dim, 0, batch_size)
    return tensor if tensor.shape[dim] == batch_size else repeated(tensor.movedim(dim, 0), batch_size).movedim(0, dim)


def resize_to_batch_size(tensor: Any, batch_size: int) -> Any:
    """Rows chosen evenly."""
    have = tensor.shape[0]
    if have == batch_size:
        return tensor
    if batch_size <= 1:
        return tensor[:batch_size]
    if have < batch_size:
        rows = [min(int(i * have / batch_size), have - 1) for i in range(batch_size)]
    else:
        rows = [round(i * (have - 1) / (batch_size - 1)) for i in range(batch_size)]
    return tensor[rows]


def resize_list_to_batch_size(items: Any, batch_size: int) -> Any:
    index = resize_to_batch_size(torch.arange(len(items)), batch_size).tolist()
    return [items[i] for i in index]


def get_attr(obj: Any, attr: str) -> Any:
    """An attribute by its dotted path."""
    for name in attr.split("."):
        obj = obj[int(name)] if name.isdigit() and not hasattr(obj, name) else getattr(obj, name)
    return obj


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """Set it; the one that was there."""
    head, _, name = attr.rpartition(".")
    owner = get_attr(obj, head) if head else obj
    before = getattr(owner, name, None)
    setattr(owner, name, value)
    return before


def set_attr_param(obj: Any, attr: str, value: Any) -> Any:
    return set_attr(obj, attr, torch.nn.Parameter(value, requires_grad=False))


def copy_to_param(obj: Any, attr: str, value: Any) -> None:
    get_attr(obj, attr).data.copy_(value)


def get_attr_validated(obj: Any, attr: str, default: Any = None) -> Any:
    try:
        return get_attr(obj, attr)
    except (AttributeError, IndexError):
        return default


def bislerp(samples: Any, width: int, height: int) -> Any:
    return _bislerp(samples, width, height)


def lanczos(samples: Any, width: int, height: int) -> Any:
    return _lanczos(samples, width, height)


def common_upscale(samples: Any, width: int, height: int, upscale_method: str, crop: str) -> Any:
    """[B, C, H, W] resampled."""
    return resize(samples, int(width), int(height), upscale_method, crop if crop == "center" else "disabled")


def reshape_mask(input_mask: Any, output_shape: Any) -> Any:
    from backend.diffusion.inpaint import fit_noise_mask

    return fit_noise_mask(input_mask, output_shape)


def get_tiled_scale_steps(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    rows = 1 if height <= tile_y else math.ceil((height - overlap) / (tile_y - overlap))
    columns = 1 if width <= tile_x else math.ceil((width - overlap) / (tile_x - overlap))
    return rows * columns


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    return [0] if size <= tile else list(range(0, size - overlap, tile - overlap))


def tiled_scale_multidim(
    samples: Any, function: Any, tile: Any = (64, 64), overlap: Any = 8, upscale_amount: Any = 4, out_channels: int = 3,
    output_device: Any = "cpu", downscale: bool = False, index_formulas: Any = None, pbar: Any = None,
) -> Any:  # fmt: skip
    """`function` on overlapping tiles of `samples` [B, C, ...], blended linearly where they overlap. Sides grow by `upscale_amount`."""
    dims = len(tile)
    overlaps = list(overlap) if isinstance(overlap, (tuple, list)) else [overlap] * dims
    amounts = list(upscale_amount) if isinstance(upscale_amount, (tuple, list)) else [upscale_amount] * dims

    def scaled(value: int, d: int) -> int:
        amount = amounts[d]
        if callable(amount):
            return int(amount(value))
        return round(value / amount) if downscale else round(value * amount)

    shape = [out_channels, *(scaled(samples.shape[d + 2], d) for d in range(dims))]
    out = torch.empty([samples.shape[0], *shape], device=output_device)
    for b in range(samples.shape[0]):
        one = samples[b : b + 1]
        total, weight = torch.zeros([1, *shape], device=output_device), torch.zeros([1, *shape], device=output_device)
        for starts in itertools.product(*(_starts(one.shape[d + 2], tile[d], overlaps[d]) for d in range(dims))):
            part, at = one, []
            for d, start in enumerate(starts):
                start = max(0, min(one.shape[d + 2] - min(tile[d], one.shape[d + 2]), start))
                part = part.narrow(d + 2, start, min(tile[d], one.shape[d + 2] - start))
                at.append(scaled(start, d))
            made = function(part).to(output_device)
            mask = torch.ones_like(made)
            for d in range(dims):
                feather = scaled(overlaps[d], d)
                if feather < mask.shape[d + 2]:
                    for i in range(feather):
                        share = (i + 1) / feather
                        mask.narrow(d + 2, i, 1).mul_(share)
                        mask.narrow(d + 2, mask.shape[d + 2] - 1 - i, 1).mul_(share)
            into, on = total, weight
            for d in range(dims):
                into, on = into.narrow(d + 2, at[d], made.shape[d + 2]), on.narrow(d + 2, at[d], made.shape[d + 2])
            into.add_(made * mask)
            on.add_(mask)
            if pbar is not None:
                pbar.update(1)
        out[b : b + 1] = total / weight
    return out


def tiled_scale(
    samples: Any, function: Any, tile_x: int = 64, tile_y: int = 64, overlap: int = 8, upscale_amount: Any = 4, out_channels: int = 3,
    output_device: Any = "cpu", pbar: Any = None,
) -> Any:  # fmt: skip
    return tiled_scale_multidim(samples, function, (tile_y, tile_x), overlap, upscale_amount, out_channels, output_device, pbar=pbar)


def encode_picture(preview: Any) -> tuple[str, bytes]:
    """("JPEG" | "PNG", picture, longest side | None) as bytes."""
    format, image, most = (*preview, None)[:3]
    if most:
        image = ImageOps.contain(image, (most, most), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    kind = "png" if format == "PNG" else "jpeg"
    (image if kind == "png" else image.convert("RGB")).save(out, format=kind, quality=95, compress_level=1)
    return kind, out.getvalue()


def set_progress_bar_enabled(enabled: bool) -> None:
    global PROGRESS_BAR_ENABLED
    PROGRESS_BAR_ENABLED = enabled


def set_progress_bar_global_hook(function: Any) -> None:
    global PROGRESS_BAR_HOOK
    PROGRESS_BAR_HOOK = function


class ProgressBar:
    """Progress of the running node. `preview` is ("JPEG" | "PNG", PIL image, longest side); it is encoded only if somebody looks."""

    def __init__(self, total: float, node_id: str | None = None) -> None:
        self.total, self.current = total, 0
        self.node_id = node_id

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if PROGRESS_BAR_HOOK is not None:
            PROGRESS_BAR_HOOK(self.current, self.total, preview)
        HOST.context().progress(self.current, self.total, None if preview is None else Preview(lambda: encode_picture(preview)))

    def update(self, value: float) -> None:
        self.update_absolute(self.current + value)


def string_to_seed(data: Any) -> int:
    from comfy.model_patcher import string_to_seed as seed

    return seed(data)


def upscale_dit_mask(mask: Any, img_size_in: Any, img_size_out: Any) -> Any:
    return torch.nn.functional.interpolate(mask.reshape(1, 1, *img_size_in), size=tuple(img_size_out), mode="nearest").flatten()
