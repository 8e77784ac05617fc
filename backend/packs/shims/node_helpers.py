"""`node_helpers`: small things node code shares."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from PIL import ImageFile, UnidentifiedImageError

from backend.packs.host import HOST


def conditioning_set_values(conditioning: Any, values: Any = None, append: bool = False) -> list[Any]:
    """Copies of the entries with `values` set; `append` adds to lists that are there."""
    out = []
    for tensor, options in conditioning:
        made = dict(options)
        for key, value in (values or {}).items():
            made[key] = made[key] + value if append and made.get(key) is not None else value
        out.append([tensor, made])
    return out


def conditioning_set_values_with_timestep_range(
    conditioning: Any, values: Any = None, start_percent: float = 0.0, end_percent: float = 1.0
):
    """`values` in that part of the sampling; outside of it the entries as they were."""
    out = []
    for tensor, options in conditioning:
        start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
        low, high = max(start_percent, start), min(end_percent, end)
        if low >= high:
            out.append([tensor, dict(options)])
            continue
        if start < low:
            out.append([tensor, {**options, "start_percent": start, "end_percent": low}])
        out.append([tensor, {**options, **(values or {}), "start_percent": low, "end_percent": high}])
        if high < end:
            out.append([tensor, {**options, "start_percent": high, "end_percent": end}])
    return out


def pillow(fn: Any, arg: Any) -> Any:
    """Call an opening function of Pillow; a truncated file is read as far as it goes."""
    try:
        return fn(arg)
    except (OSError, UnidentifiedImageError, ValueError):
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            return fn(arg)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def hasher() -> Any:
    return getattr(hashlib, getattr(HOST.services.settings, "hashing", "sha256"))


def string_to_torch_dtype(string: str) -> Any:
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}.get(string)


def image_alpha_fix(destination: Any, source: Any) -> tuple[Any, Any]:
    """Both images with as many channels: an alpha channel too many is dropped, one too few becomes opaque."""
    if destination.shape[-1] < source.shape[-1]:
        source = source[..., : destination.shape[-1]]
    elif destination.shape[-1] > source.shape[-1]:
        pad = destination.shape[-1] - source.shape[-1]
        source = torch.cat([source, source.new_ones(*source.shape[:-1], pad)], dim=-1)
    return destination, source
