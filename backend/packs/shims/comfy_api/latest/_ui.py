"""`ui`: things to show, and helpers that save."""

from __future__ import annotations

import secrets
import string
from typing import Any

from backend.base.paths import next_save
from backend.imaging.picture import to_pictures
from backend.packs.host import HOST
from backend.packs.savers import SaveImage
from backend.storage.files import write_bytes
from comfy_api.latest._io import FolderType, _UIOutput


class SavedResult(dict):
    """A file that was written, as clients are told of it."""

    def __init__(self, filename: str, subfolder: str, type: Any) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=getattr(type, "value", type))

    @property
    def filename(self) -> str:
        return self["filename"]

    @property
    def subfolder(self) -> str:
        return self["subfolder"]

    @property
    def type(self) -> str:
        return self["type"]


class SavedImages(_UIOutput):
    def __init__(self, results: Any, is_animated: bool = False) -> None:
        self.results, self.is_animated = list(results), is_animated

    def as_dict(self) -> dict[str, Any]:
        made: dict[str, Any] = {"images": self.results}
        return {**made, "animated": (True,)} if self.is_animated else made


class SavedAudios(_UIOutput):
    def __init__(self, results: Any) -> None:
        self.results = list(results)

    def as_dict(self) -> dict[str, Any]:
        return {"audio": self.results}


def _run_values(cls: Any) -> dict[str, Any]:
    hidden = getattr(cls, "hidden", None)
    return {"prompt": getattr(hidden, "prompt", None), "extra_pnginfo": getattr(hidden, "extra_pnginfo", None)}


class ImageSaveHelper:
    """Writes pictures below one of the directories."""

    @staticmethod
    def _saver(folder_type: Any, compress_level: int) -> SaveImage:
        saver = SaveImage()
        kind = getattr(folder_type, "value", folder_type)
        saver.output_dir, saver.type = str(HOST.services.folders.directory(kind)), kind
        saver.compress_level = compress_level
        return saver

    @staticmethod
    def save_images(images: Any, filename_prefix: str, folder_type: Any, cls: Any, compress_level: int = 4) -> list[SavedResult]:
        made = ImageSaveHelper._saver(folder_type, compress_level).save_images(images, filename_prefix, **_run_values(cls))
        return [SavedResult(**item) for item in made["ui"]["images"]]

    @staticmethod
    def get_save_images_ui(images: Any, filename_prefix: str, cls: Any, compress_level: int = 4) -> SavedImages:
        return SavedImages(ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level))

    @staticmethod
    def _animated(images: Any, filename_prefix: str, folder_type: Any, cls: Any, fps: float, format: str, **options: Any) -> SavedResult:
        import io
        import json

        from backend.storage.images import exif_of

        kind = getattr(folder_type, "value", folder_type)
        place = next_save(filename_prefix, HOST.services.folders.directory(kind), images.shape[2], images.shape[1], len(images))
        frames = to_pictures(images)
        texts = {}
        if HOST.services.settings.metadata:
            values = _run_values(cls)
            texts = {"prompt": json.dumps(values["prompt"])} if values["prompt"] else {}
            texts |= {k: json.dumps(v) for k, v in (values["extra_pnginfo"] or {}).items()}
        out = io.BytesIO()
        if format == "WEBP":
            options["exif"] = exif_of(texts)
        frames[0].save(out, format=format, save_all=True, append_images=frames[1:], duration=int(1000.0 / fps), **options)
        name = f"{place.name}_{place.counter:05}_.{format.lower()}"
        write_bytes(place.folder / name, out.getvalue())
        return SavedResult(name, place.subfolder, kind)

    @staticmethod
    def save_animated_webp(
        images: Any, filename_prefix: str, folder_type: Any, cls: Any, fps: float, lossless: bool, quality: int, method: int
    ) -> SavedResult:
        return ImageSaveHelper._animated(
            images, filename_prefix, folder_type, cls, fps, "WEBP", lossless=lossless, quality=quality, method=method
        )

    @staticmethod
    def get_save_animated_webp_ui(
        images: Any, filename_prefix: str, cls: Any, fps: float, lossless: bool, quality: int, method: int
    ) -> SavedImages:
        one = ImageSaveHelper.save_animated_webp(images, filename_prefix, FolderType.output, cls, fps, lossless, quality, method)
        return SavedImages([one], is_animated=True)

    @staticmethod
    def save_animated_png(images: Any, filename_prefix: str, folder_type: Any, cls: Any, fps: float, compress_level: int) -> SavedResult:
        return ImageSaveHelper._animated(images, filename_prefix, folder_type, cls, fps, "PNG", compress_level=compress_level)

    @staticmethod
    def get_save_animated_png_ui(images: Any, filename_prefix: str, cls: Any, fps: float, compress_level: int) -> SavedImages:
        one = ImageSaveHelper.save_animated_png(images, filename_prefix, FolderType.output, cls, fps, compress_level)
        return SavedImages([one], is_animated=True)


class AudioSaveHelper:
    """Writes sound below one of the directories."""

    @staticmethod
    def save_audio(
        audio: Any, filename_prefix: str, folder_type: Any, cls: Any, format: str = "flac", quality: str = "128k"
    ) -> list[SavedResult]:
        import json

        from backend.media.audio import encode

        kind = getattr(folder_type, "value", folder_type)
        place = next_save(filename_prefix, HOST.services.folders.directory(kind))
        values = _run_values(cls)
        texts = {}
        if HOST.services.settings.metadata:
            texts = {"prompt": json.dumps(values["prompt"])} if values["prompt"] else {}
        results = []
        for i, waveform in enumerate(audio["waveform"]):
            name = f"{place.name.replace('%batch_num%', str(i))}_{place.counter + i:05}_.{format}"
            write_bytes(place.folder / name, encode(waveform, audio["sample_rate"], format, quality if format != "flac" else "", texts))
            results.append(SavedResult(name, place.subfolder, kind))
        return results

    @staticmethod
    def get_save_audio_ui(audio: Any, filename_prefix: str, cls: Any, format: str = "flac", quality: str = "128k") -> SavedAudios:
        return SavedAudios(AudioSaveHelper.save_audio(audio, filename_prefix, FolderType.output, cls, format, quality))


def _name() -> str:
    return "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))


class PreviewImage(_UIOutput):
    """Pictures [B, H, W, C] in the temp directory."""

    def __init__(self, image: Any, animated: bool = False, cls: Any = None, **kwargs: Any) -> None:
        self.values = ImageSaveHelper.save_images(image, _name(), FolderType.temp, cls, 1)
        self.animated = animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    def __init__(self, mask: Any, animated: bool = False, cls: Any = None, **kwargs: Any) -> None:
        planes = mask.reshape(-1, 1, *mask.shape[-2:]).movedim(1, -1).expand(-1, -1, -1, 3)
        super().__init__(planes, animated, cls)


class PreviewAudio(_UIOutput):
    def __init__(self, audio: Any, cls: Any = None, **kwargs: Any) -> None:
        self.values = AudioSaveHelper.save_audio(audio, _name(), FolderType.temp, cls)

    def as_dict(self) -> dict[str, Any]:
        return {"audio": self.values}


class PreviewVideo(_UIOutput):
    def __init__(self, values: Any, **kwargs: Any) -> None:
        self.values = list(values)

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}


class PreviewUI3D(_UIOutput):
    def __init__(self, model_file: Any, camera_info: Any = None, **kwargs: Any) -> None:
        self.model_file, self.camera_info = model_file, camera_info

    def as_dict(self) -> dict[str, Any]:
        return {"result": [self.model_file, self.camera_info]}


class PreviewText(_UIOutput):
    def __init__(self, value: str, **kwargs: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}
