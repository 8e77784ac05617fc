"""Socket types as text, and the class form of a node as an abstract class."""

from __future__ import annotations

from abc import ABC
from enum import Enum
from typing import Any, TypedDict


class StrEnum(str, Enum):  # noqa: UP042 - IO overrides comparison
    def __str__(self) -> str:
        return str(self.value)


class IO(StrEnum):
    """A value accepts what it names; several are joined by commas."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    COMBO = "COMBO"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    LORA_MODEL = "LORA_MODEL"
    LOSS_MAP = "LOSS_MAP"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    WEBCAM = "WEBCAM"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    VIDEO = "VIDEO"
    ANY = "*"
    NUMBER = "FLOAT,INT"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"

    def __ne__(self, value: object) -> bool:
        """ANY fits everything; others fit what they share a member with."""
        if self.value == "*" or value == "*":
            return False
        if not isinstance(value, str):
            return True
        return {t.strip() for t in value.split(",")}.isdisjoint(self.value.split(","))

    def __eq__(self, value: object) -> bool:
        return str.__eq__(self.value, str(value)) if isinstance(value, str) else False

    __hash__ = str.__hash__


class InputTypeOptions(TypedDict, total=False):
    default: Any
    forceInput: bool
    tooltip: str


class InputTypeDict(TypedDict, total=False):
    required: dict[str, Any]
    optional: dict[str, Any]
    hidden: dict[str, Any]


class FileLocator(TypedDict, total=False):
    filename: str
    subfolder: str
    type: str


class ComfyNodeABC(ABC):
    """The class form of a node."""

    DESCRIPTION: str
    CATEGORY: str
    EXPERIMENTAL: bool
    DEPRECATED: bool
    API_NODE: bool | None
    INPUT_IS_LIST: bool
    OUTPUT_IS_LIST: tuple[bool, ...]
    RETURN_TYPES: tuple[Any, ...]
    RETURN_NAMES: tuple[str, ...]
    OUTPUT_TOOLTIPS: tuple[str, ...]
    FUNCTION: str

    @classmethod
    def INPUT_TYPES(cls) -> Any:
        return {"required": {}}


class CheckLazyMixin:
    """Asks for every lazy input that is not there yet."""

    def check_lazy_status(self, **kwargs: Any) -> list[str]:
        return [name for name, value in kwargs.items() if value is None]
