"""How diffusers names the parts of the UNet, and how the published single files name them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backend.families.sd.unet import UNetSizes

RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
"""Inside a residual block: diffusers name -> single-file name. Transformers have equal names inside."""

ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "cond_proj",
    "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2",
    "class_embedding": "label_emb",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "encoder_hid_proj": "encoder_hid_proj",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}


def part_names(down: list[int], up: list[int], up_attends: list[bool]) -> Iterator[tuple[str, str]]:
    """Pairs (diffusers, single-file) of the parts of a UNet.

    `down` and `up` count residual blocks per diffusers block, `up_attends` says which up blocks hold transformers: an upsampler's
    number in its block depends on it.
    """
    yield from ENDS.items()
    n = 1
    for level, count in enumerate(down):
        for i in range(count):
            yield f"down_blocks.{level}.resnets.{i}", f"input_blocks.{n}.0"
            yield f"down_blocks.{level}.attentions.{i}", f"input_blocks.{n}.1"
            n += 1
        if level != len(down) - 1:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{n}.0.op"
            n += 1
    n = 0
    for level, count in enumerate(up):
        for i in range(count):
            yield f"up_blocks.{level}.resnets.{i}", f"output_blocks.{n}.0"
            yield f"up_blocks.{level}.attentions.{i}", f"output_blocks.{n}.1"
            n += 1
        if level != len(up) - 1:
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{n - 1}.{2 if up_attends[level] else 1}.conv"


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name for every known key of a diffusers UNet; unknown keys are left out."""
    keys = list(keys)
    down = _counts(keys, "down_blocks", "resnets")
    up = _counts(keys, "up_blocks", "resnets")
    attends = [bool(count) for count in _counts(keys, "up_blocks", "attentions", len(up))]
    names = _renamed(dict(part_names(down, up, attends)), RES, keys)
    return {single: diffusers for diffusers, single in names.items()}


def to_diffusers(sizes: UNetSizes, keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name for every known single-file key of a net of these sizes; unknown keys are left out."""
    up_counts = [count + 1 for count in reversed(sizes.res_blocks)]
    attends, start = [], 0
    for count in up_counts:
        attends.append(any(sizes.depth_out[start : start + count]))
        start += count
    parts = {single: diffusers for diffusers, single in part_names(list(sizes.res_blocks), up_counts, attends)}
    if sizes.depth_in and sizes.depth_in[0]:  # unCLIP; SDXL, which has no transformers at its finest level, calls the same layers otherwise
        parts |= {"label_emb.0.0": "class_embedding.linear_1", "label_emb.0.2": "class_embedding.linear_2"}
    return _renamed(parts, {single: diffusers for diffusers, single in RES.items()}, keys)


def _renamed(parts: dict[str, str], inside: dict[str, str], keys: Iterable[str]) -> dict[str, str]:
    """Key -> its name in the other spelling: the longest part it begins with is replaced, and what a residual block has inside."""
    table = {}
    for key in keys:
        part = key
        while part:
            part = part.rpartition(".")[0]
            if part not in parts:
                continue
            rest = key[len(part) + 1 :]
            if ".resnets." in part or ".resnets." in parts[part]:
                name, _, leaf = rest.rpartition(".")
                if name not in inside:
                    break
                rest = f"{inside[name]}.{leaf}"
            table[key] = f"{parts[part]}.{rest}"
            break
    return table


def _counts(keys: list[str], blocks: str, kind: str, levels: int | None = None) -> list[int]:
    """How many `blocks.N.kind.M` there are for each N."""
    found: dict[int, int] = {}
    for key in keys:
        pieces = key.split(".", 4) if key.startswith(blocks) else ()
        if len(pieces) == 5 and pieces[0] == blocks and pieces[2] == kind and pieces[1].isdecimal() and pieces[3].isdecimal():
            level, i = int(pieces[1]), int(pieces[3])
            found[level] = max(found.get(level, 0), i + 1)
    size = levels if levels is not None else 1 + max(found, default=-1)
    return [found.get(level, 0) for level in range(size)]
