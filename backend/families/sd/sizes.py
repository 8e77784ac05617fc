"""Sizes of a UNet from the shapes of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backend.families.sd.unet import UNetSizes
from backend.weights.detect import count
from backend.weights.file import Entry, Header

SD1_HEADS = 8
"""Every SD 1 net has eight heads at every width; shapes cannot tell."""


def sizes_sd1(header: Header) -> UNetSizes:
    """Sizes of an SD 1 net."""
    return replace(sizes_of(header), heads=SD1_HEADS, head_dim=None)


def sizes_of(header: Header) -> UNetSizes:
    """All sizes but the head rule, which is left at SD 1's. Raises KeyError for a missing weight, ValueError for a contradiction."""
    outputs = count(header, "output_blocks")
    down = sizes_down(header)
    return replace(
        down,
        classes=header["label_emb.weight"].shape[0] if "label_emb.weight" in header else None,
        guidance=header["cond_proj.weight"].shape[1] if "cond_proj.weight" in header else None,
        cross_only=_cross_only(header, down),
        out_channels=header["out.2.weight"].shape[0],
        depth_out=tuple(count(header, f"output_blocks.{n}.1.transformer_blocks") for n in range(outputs)),
    )


def sizes_down(header: Header) -> UNetSizes:
    """The sizes that the way down and the middle tell: all there is in a control net. No transformers are supposed on the way up."""
    channels: list[int] = []
    res_blocks: list[int] = [0]
    depth_in: list[int] = []
    for n in range(1, count(header, "input_blocks")):
        block = f"input_blocks.{n}"
        if f"{block}.0.op.weight" in header:
            res_blocks.append(0)
            continue
        width = header[f"{block}.0.in_layers.2.weight"].shape[0]
        if res_blocks[-1] == 0:
            channels.append(width)
        res_blocks[-1] += 1
        depth_in.append(count(header, f"{block}.1.transformer_blocks"))
    projection = next((entry for key, entry in header.items() if key.endswith(".proj_in.weight")), None)
    context = next((entry for key, entry in header.items() if key.endswith(".attn2.to_k.weight")), None)
    return UNetSizes(
        in_channels=header["input_blocks.0.0.weight"].shape[1],
        channels=tuple(channels),
        res_blocks=tuple(res_blocks),
        depth_in=tuple(depth_in),
        depth_middle=_middle(header),
        depth_out=(0,) * (sum(res_blocks) + len(res_blocks)),
        context=context.shape[1] if context else 0,
        linear=projection is not None and len(projection.shape) == 2,
        adm=header["label_emb.0.0.weight"].shape[1] if "label_emb.0.0.weight" in header else None,
    )


def _cross_only(header: Header, down: UNetSizes) -> tuple[bool, ...]:
    """By level: whether the first attention reads the text. Where text and level are equally wide it is taken for self-attention."""
    found, n = [], 0
    for channels, blocks in zip(down.channels, down.res_blocks, strict=True):
        keys = header.get(f"input_blocks.{n + 1}.1.transformer_blocks.0.attn1.to_k.weight")
        found.append(keys is not None and keys.shape[1] == down.context != channels)
        n += blocks + 1
    return tuple(found) if any(found) else ()


def _middle(header: Header) -> int | None:
    if "middle_block.0.in_layers.0.weight" not in header:
        return None
    return count(header, "middle_block.1.transformer_blocks")


HEAD_DIM = 64
"""SD 2 and SDXL nets have as many heads as 64 fits into the width."""


def sizes_by_head(header: Header) -> UNetSizes:
    """Sizes of an SD 2 or SDXL net."""
    return replace(sizes_of(header), heads=None, head_dim=HEAD_DIM)


def still(header: Header) -> bool:
    """Whether the net has no time axis (video models)."""
    return not any(".time_stack." in key or "motion_modules." in key or ".time_mix" in key for key in header)


def projected(header: Header, dims: int) -> bool:
    """Whether the transformers are projected by 1x1 convolutions (4 dimensions: SD 1) or linear layers (2: SD 2, SDXL)."""
    return all(len(entry.shape) == dims for entry in _projections(header)) and any(True for _ in _projections(header))


def _projections(header: Header) -> Iterator[Entry]:
    return (entry for key, entry in header.items() if key.endswith(".proj_in.weight") and not key.startswith("middle_block"))


def takes(header: Header, channels: int) -> bool:
    """Whether the net's input has this many channels."""
    return header["input_blocks.0.0.weight"].shape[1] == channels


def attends_first(header: Header) -> bool:
    """Whether the finest level has transformers (SD 1 and 2, not SDXL)."""
    return "input_blocks.1.1.proj_in.weight" in header


def attends_last(header: Header) -> bool:
    """Whether the coarsest level on the way down has transformers (SDXL, neither its refiner nor SD 1 and 2)."""
    return f"input_blocks.{count(header, 'input_blocks') - 1}.1.proj_in.weight" in header
