"""SaveImage and PreviewImage as packs subclass them: their attributes say where and how pictures are written."""

from __future__ import annotations

import json
import os
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.base.paths import next_save
from backend.imaging.picture import to_pictures
from backend.packs.host import HOST
from backend.storage.images import write_png


class SaveImage:
    """`output_dir`, `type`, `prefix_append` and `compress_level` may be set by subclasses."""

    def __init__(self) -> None:
        self.output_dir = str(HOST.services.folders.output)
        self.type = "output"
        self.prefix_append = ""
        self.compress_level = 4

    def save_images(
        self, images: Any, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write a batch as numbered PNG files: what is shown, and the images. Raises Refused for a prefix that leads outside."""
        ctx = HOST.context()
        place = next_save(filename_prefix + self.prefix_append, Path(self.output_dir), images.shape[2], images.shape[1], len(images))
        texts: dict[str, str] = {}
        kept = HOST.services.settings.metadata
        if kept != "none" and prompt is not None:
            texts["prompt"] = json.dumps(prompt)
        if kept == "full":
            texts |= {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()}
        items = []
        for number, image in enumerate(to_pictures(images)):
            ctx.check()
            path = place.folder / f"{place.name.replace('%batch_num%', str(number))}_{place.counter + number:05}_.png"
            write_png(path, image, texts, self.compress_level)
            items.append({"filename": os.path.basename(path), "subfolder": place.subfolder, "type": self.type})
        return {"ui": {"images": items}, "result": (images,)}


class PreviewImage(SaveImage):
    """The same into the temp directory, under a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.output_dir = str(HOST.services.folders.temp)
        self.type = "temp"
        self.prefix_append = "_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
        self.compress_level = 1


SAVERS: Mapping[str, type] = {"SaveImage": SaveImage, "PreviewImage": PreviewImage}
