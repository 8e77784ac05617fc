"""Blocks of a transformer with a stream of the prompt and one of the picture, and the taps that packs know around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from backend.nn.taps import Site

Two = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""(picture, prompt, vec) -> both; None for a prompt that goes on no more."""
One = Callable[[Tensor, Tensor], Tensor]


def double(block: Two, img: Tensor, txt: Tensor, vec: Tensor, site: Site) -> tuple[Tensor, Tensor | None]:
    """A block of two streams with its taps: "dit_replace" in its place, "block_around" around both, "double_block" after them."""

    def plain(streams: tuple[Tensor, Tensor]) -> Any:
        instead = site.replacement("dit_replace")
        if instead is None:
            return block(*streams, vec)

        def original(args: dict[str, Any]) -> dict[str, Any]:
            img, txt = block(args["img"], args["txt"], args["vec"])
            return {"img": img, "txt": txt}

        args = {"img": streams[0], "txt": streams[1], "vec": vec, "transformer_options": site.facts}
        made: Any = instead(args, {"original_block": original})
        return made["img"], made["txt"]

    around: Any = site.around
    img, txt = around("block_around", plain, (img, txt))
    args: Any = {"img": img, "txt": txt, "x": site.facts["net_input"], "block_index": site.facts["block_index"]}
    args = site.fold("double_block", args)
    return args["img"], args["txt"]


def single(block: One, x: Tensor, vec: Tensor, site: Site) -> Tensor:
    """The same for a block of one stream, and "single_block"."""

    def plain(x: Tensor) -> Tensor:
        instead = site.replacement("dit_replace")
        if instead is None:
            return block(x, vec)
        args = {"img": x, "vec": vec, "transformer_options": site.facts}
        made: Any = instead(args, {"original_block": lambda args: {"img": block(args["img"], args["vec"])}})
        out: Tensor = made["img"]
        return out

    args: Any = {
        "img": site.around("block_around", plain, x),
        "x": site.facts["net_input"],
        "block_index": site.facts["block_index"],
    }
    out: Tensor = site.fold("single_block", args)["img"]  # type: ignore[index]
    return out
