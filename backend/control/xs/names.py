"""How diffusers names the parts of a ControlNet-XS, and how our net does."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backend.control.unet.names import OTHER as MARK
from backend.control.unet.names import from_diffusers as control_from_diffusers

__all__ = ["MARK", "from_diffusers"]


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Our name -> diffusers name for every known key."""
    keys = list(keys)
    alike = {_as_a_control_net(key): key for key in keys}
    found: dict[str, str] = {}
    for name, spelled in control_from_diffusers(alike).items():
        found[_ours(name)] = alike[spelled]
    counts = [sum(f"down_blocks.{level}.base_to_ctrl.{i}.weight" in keys for i in range(9)) for level in range(9)]
    starts = [sum(counts[:level]) for level in range(9)]
    ups = [sum(f"up_connections.{level}.ctrl_to_base.{i}.weight" in keys for i in range(9)) for level in range(9)]
    for key in keys:
        leaf = key.rpartition(".")[2]
        if match := re.match(r"down_blocks\.(\d)\.base_to_ctrl\.(\d)\.", key):
            found[f"hears.{starts[int(match[1])] + int(match[2])}.{leaf}"] = key
        elif match := re.match(r"down_blocks\.(\d)\.ctrl_to_base\.(\d)\.", key):
            found[f"says.{1 + starts[int(match[1])] + int(match[2])}.{leaf}"] = key
        elif match := re.match(r"up_connections\.(\d)\.ctrl_to_base\.(\d)\.", key):
            found[f"says_up.{sum(ups[: int(match[1])]) + int(match[2])}.{leaf}"] = key
    ends = {"control_to_base_for_conv_in": "says.0", "mid_block.base_to_ctrl": f"hears.{sum(counts)}"}
    ends |= {"mid_block.ctrl_to_base": f"says.{1 + sum(counts)}"}
    for part, ours in ends.items():
        found |= {f"{ours}.{leaf}": f"{part}.{leaf}" for leaf in ("weight", "bias") if f"{part}.{leaf}" in keys}
    return found


def _as_a_control_net(key: str) -> str:
    return key.replace("mid_block.midblock.", "mid_block.").replace(".downsamplers.conv.", ".downsamplers.0.conv.")


def _ours(name: str) -> str:
    """From the names that single files of ControlNets have: blocks are counted from 0, without the first convolution."""
    if name.startswith("input_blocks.0.0."):
        return f"conv_in.{name.rpartition('.')[2]}"
    match = re.match(r"input_blocks\.(\d+)\.(.+)", name)
    return f"blocks.{int(match[1]) - 1}.{match[2]}" if match else name
