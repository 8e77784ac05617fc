"""The schema form of nodes, and what nodes of that form reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from backend.engine.context import Preview
from backend.packs.host import HOST
from comfy_api.latest import _input, _input_impl, _io, _types, _ui
from comfy_api.latest import _io as io
from comfy_api.latest import _ui as ui

Input, InputImpl, Types, UI, IO = _input, _input_impl, _types, _ui, _io

__all__ = ["IO", "UI", "ComfyAPI", "ComfyAPISync", "ComfyExtension", "Input", "InputImpl", "Types", "io", "ui"]


class ComfyExtension(ABC):
    """What a pack's `comfy_entrypoint` gives."""

    async def on_load(self) -> None:  # noqa: B027 - packs need not have one
        """Called once, before the nodes are asked for."""

    @abstractmethod
    async def get_node_list(self) -> list[type[_io.ComfyNode]]: ...


def _report(value: float, max_value: float, preview_image: Any) -> None:
    shown = None
    if preview_image is not None:
        from comfy.utils import encode_picture

        picture = preview_image
        if not hasattr(picture, "save"):
            from backend.imaging.picture import to_pictures

            picture = to_pictures(picture if picture.ndim == 4 else picture[None])[0]
        shown = Preview(lambda: encode_picture(("JPEG", picture, 512)))
    HOST.context().progress(value, max_value, shown)


class ComfyAPISync:
    """What a node reaches while it runs."""

    VERSION = "latest"
    STABLE = False

    class Execution:
        def set_progress(
            self, value: float, max_value: float, node_id: Any = None, preview_image: Any = None, ignore_size_limit: bool = False
        ) -> None:
            _report(value, max_value, preview_image)

    def __init__(self) -> None:
        self.execution = self.Execution()


class ComfyAPI:
    """The same for nodes that are async."""

    VERSION = "latest"
    STABLE = False

    class Execution:
        async def set_progress(
            self, value: float, max_value: float, node_id: Any = None, preview_image: Any = None, ignore_size_limit: bool = False
        ) -> None:
            _report(value, max_value, preview_image)

    def __init__(self) -> None:
        self.execution = self.Execution()
