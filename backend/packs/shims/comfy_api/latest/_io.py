"""`io`: sockets, widgets, schemas and the base class of schema-form nodes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar


class FolderType(str, Enum):  # noqa: UP042
    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):  # noqa: UP042
    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(str, Enum):  # noqa: UP042
    number = "number"
    slider = "slider"


class ControlAfterGenerate(str, Enum):  # noqa: UP042
    fixed = "fixed"
    increment = "increment"
    decrement = "decrement"
    randomize = "randomize"


class Hidden(str, Enum):  # noqa: UP042
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


@dataclass
class RemoteOptions:
    route: str
    refresh_button: bool
    control_after_refresh: str = "first"
    timeout: int | None = None
    max_retries: int | None = None
    refresh: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if v is not None}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


class _Input:
    """An input. `options` are its published options without what was left out."""

    io_type: ClassVar[str] = "*"
    is_widget: ClassVar[bool] = False

    def __init__(
        self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None, lazy: bool | None = None,
        extra_dict: dict[str, Any] | None = None, raw_link: bool | None = None, advanced: bool | None = None, **more: Any,
    ) -> None:  # fmt: skip
        self.id, self.display_name, self.optional, self.tooltip, self.lazy = id, display_name, optional, tooltip, lazy
        self.extra_dict = extra_dict or {}
        self.rawLink, self.advanced = raw_link, advanced
        self.more = more

    def get_io_type(self) -> str:
        return self.io_type

    def as_dict(self) -> dict[str, Any]:
        named = {
            "display_name": self.display_name,
            "tooltip": self.tooltip,
            "lazy": self.lazy,
            "rawLink": self.rawLink,
            "advanced": self.advanced,
        }
        return {k: _plain(v) for k, v in {**named, **self._options(), **self.extra_dict}.items() if v is not None}

    def _options(self) -> dict[str, Any]:
        return {}

    def validate(self) -> None:
        return None


class _Widget(_Input):
    """An input that can be typed in."""

    is_widget = True
    NAMES: ClassVar[dict[str, str]] = {
        "force_input": "forceInput", "dynamic_prompts": "dynamicPrompts", "display_mode": "display", "widget_type": "widgetType",
    }  # fmt: skip

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        *args: Any,
        **options: Any,
    ) -> None:
        own = {k: options.pop(k) for k in ("extra_dict", "raw_link", "advanced") if k in options}
        super().__init__(id, display_name, optional, tooltip, lazy, **own)
        self.options = {**dict(zip(self.ORDER, args)), **options}
        self.default = self.options.get("default")

    ORDER: ClassVar[tuple[str, ...]] = ("default",)

    def _options(self) -> dict[str, Any]:
        return {self.NAMES.get(k, k): v for k, v in self.options.items()}


class _Output:
    """An output."""

    io_type: ClassVar[str] = "*"

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None, is_output_list: bool = False, **more: Any
    ) -> None:
        self.id, self.display_name, self.tooltip, self.is_output_list = id, display_name, tooltip, is_output_list

    def get_io_type(self) -> str:
        return self.io_type

    def validate(self) -> None:
        return None


class ComfyTypeIO:
    """A type has an `Input` and an `Output` class, and `Type` for annotations."""

    io_type: ClassVar[str] = "*"
    Type: ClassVar[Any] = Any
    Input: ClassVar[type] = _Input
    Output: ClassVar[type] = _Output


ComfyType = _ComfyType = ComfyTypeIO
InputV3, WidgetInputV3, OutputV3 = _Input, _Widget, _Output
Input, WidgetInput, Output = _Input, _Widget, _Output


def comfytype(io_type: str, **kwargs: Any) -> Any:
    """Class decorator: the class becomes a type of that name; an Input or Output class it brings is kept."""

    def decorate(cls: Any) -> Any:
        return _typed(cls.__name__, io_type, vars(cls).get("Input", _Input), vars(cls).get("Output", _Output), cls)

    return decorate


def _typed(name: str, io_type: str, input: type = _Input, output: type = _Output, base: type | None = None) -> Any:
    space = dict(vars(base)) if base is not None else {}
    for private in ("__dict__", "__weakref__"):
        space.pop(private, None)
    space["io_type"] = io_type
    space["Input"] = type("Input", (input,), {"io_type": io_type})
    space["Output"] = type("Output", (output,), {"io_type": io_type})
    space.setdefault("Type", Any)
    return type(name, (ComfyTypeIO,), space)


def Custom(io_type: str) -> Any:
    """A type of a pack's own."""
    return _typed(io_type, io_type)


class _Number(_Widget):
    ORDER = ("default", "min", "max", "step", "control_after_generate", "display_mode")


class _Float(_Widget):
    ORDER = ("default", "min", "max", "step", "round", "display_mode")


class _Text(_Widget):
    ORDER = ("multiline", "placeholder", "default", "dynamic_prompts")


class _Bool(_Widget):
    ORDER = ("default", "label_on", "label_off")


class _Combo(_Widget):
    """`options` is a list or an Enum."""

    def __init__(self, id: str, options: Any = None, *args: Any, **given: Any) -> None:
        if inspect.isclass(options) and issubclass(options, Enum):
            options = [m.value for m in options]
            given["default"] = _plain(given.get("default"))
        super().__init__(id, *args, **given)
        self.choices = options
        self.multiselect = False

    def _options(self) -> dict[str, Any]:
        rest = dict(self.options)
        upload, folder, remote = rest.pop("upload", None), rest.pop("image_folder", None), rest.pop("remote", None)
        made: dict[str, Any] = {"default": rest.pop("default", None), "multiselect": self.multiselect}
        if self.choices is not None:
            made["options"] = list(self.choices)
        made |= {self.NAMES.get(k, k): v for k, v in rest.items()}
        if upload is not None:
            made[_plain(upload)] = True
        if folder is not None:
            made["image_folder"] = _plain(folder)
        if remote is not None:
            made["remote"] = remote.as_dict()
        return made


class _MultiCombo(_Combo):
    def __init__(self, id: str, options: Any, *args: Any, placeholder: str | None = None, chip: bool | None = None, **given: Any) -> None:
        super().__init__(id, options, *args, **given)
        self.multiselect = True
        self.shown = {k: v for k, v in {"placeholder": placeholder, "chip": chip}.items() if v is not None}

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "multi_select": self.shown}


Boolean = _typed("Boolean", "BOOLEAN", _Bool)
Int = _typed("Int", "INT", _Number)
Float = _typed("Float", "FLOAT", _Float)
String = _typed("String", "STRING", _Text)
Combo = _typed("Combo", "COMBO", _Combo)
MultiCombo = _typed("MultiCombo", "COMBO", _MultiCombo)
Color = _typed("Color", "COLOR", _Widget)
Webcam = _typed("Webcam", "WEBCAM", _Widget)

_PLAIN = {
    "Image": "IMAGE", "WanCameraEmbedding": "WAN_CAMERA_EMBEDDING", "Mask": "MASK", "Latent": "LATENT", "Conditioning": "CONDITIONING",
    "Sampler": "SAMPLER", "Sigmas": "SIGMAS", "Noise": "NOISE", "Guider": "GUIDER", "Clip": "CLIP", "ControlNet": "CONTROL_NET", "Vae": "VAE",
    "Model": "MODEL", "ClipVision": "CLIP_VISION", "ClipVisionOutput": "CLIP_VISION_OUTPUT", "StyleModel": "STYLE_MODEL", "Gligen": "GLIGEN",
    "UpscaleModel": "UPSCALE_MODEL", "Audio": "AUDIO", "Video": "VIDEO", "SVG": "SVG", "LoraModel": "LORA_MODEL", "LossMap": "LOSS_MAP",
    "Voxel": "VOXEL", "Mesh": "MESH", "Hooks": "HOOKS", "HookKeyframes": "HOOK_KEYFRAMES", "TimestepsRange": "TIMESTEPS_RANGE",
    "LatentOperation": "LATENT_OPERATION", "FlowControl": "FLOW_CONTROL", "Accumulation": "ACCUMULATION", "Load3D": "LOAD_3D",
    "Load3DAnimation": "LOAD_3D_ANIMATION", "Load3DCamera": "LOAD3D_CAMERA", "Photomaker": "PHOTOMAKER", "Point": "POINT",
    "FaceAnalysis": "FACE_ANALYSIS", "BBOX": "BBOX", "SEGS": "SEGS", "AnyType": "*", "AudioEncoder": "AUDIO_ENCODER",
    "AudioEncoderOutput": "AUDIO_ENCODER_OUTPUT", "ModelPatch": "MODEL_PATCH", "Tracks": "TRACKS", "AudioRecord": "AUDIO_RECORD",
}  # fmt: skip
globals().update({_name: _typed(_name, _kind) for _name, _kind in _PLAIN.items()})


class MultiType:
    """An input of several types: MultiType.Input("x", [io.Int, io.Float]); the first may be a widget input to type into."""

    Type = Any

    class Input(_Input):
        def __init__(
            self, id: Any, types: Any, display_name: str | None = None, optional: bool = False, tooltip: str | None = None, **more: Any
        ) -> None:
            self.first = id if isinstance(id, _Input) else None
            super().__init__(
                self.first.id if self.first is not None else id,
                display_name,
                optional or bool(self.first and self.first.optional),
                tooltip,
                **more,
            )
            names = [t if isinstance(t, str) else t.io_type for t in types]
            if self.first is not None:
                names.insert(0, self.first.get_io_type())
            self.types = list(dict.fromkeys(n for name in names for n in name.split(",")))

        def get_io_type(self) -> str:
            return ",".join(self.types)

        def as_dict(self) -> dict[str, Any]:
            if self.first is None:
                return super().as_dict()
            return {**self.first.as_dict(), **super().as_dict(), "widgetType": self.first.get_io_type()}


class MatchType:
    """Sockets that share one type: io.MatchType.Template("T", [types]), .Input("x", template=t), .Output(template=t)."""

    Type = Any

    class Template:
        def __init__(self, template_id: str, allowed_types: Any = None) -> None:
            given = [allowed_types] if allowed_types is not None and not isinstance(allowed_types, (list, tuple)) else allowed_types
            self.template_id = template_id
            self.allowed_types = list(given or [AnyType])  # noqa: F821

        def io_type(self) -> str:
            return ",".join(t.io_type for t in self.allowed_types)

    class Input(_Input):
        def __init__(self, id: str, template: Any, *args: Any, **given: Any) -> None:
            super().__init__(id, *args, **given)
            self.template = template

        def get_io_type(self) -> str:
            return self.template.io_type()

    class Output(_Output):
        def __init__(self, template: Any, id: str | None = None, *args: Any, **given: Any) -> None:
            super().__init__(id, *args, **given)
            self.template = template

        def get_io_type(self) -> str:
            return self.template.io_type()


def _listed(inputs: Any) -> dict[str, Any]:
    """Inputs in the published form."""
    made: dict[str, Any] = {"required": {}, "optional": {}}
    for i in inputs:
        made["optional" if i.optional else "required"][i.id] = (i.get_io_type(), i.as_dict())
    return {group: entries for group, entries in made.items() if entries or group == "required"}


class DynamicCombo:
    """A choice that brings inputs of its own; `execute` gets {id: the choice, further inputs ...}."""

    Type = dict

    class Option:
        def __init__(self, key: str, inputs: Any) -> None:
            self.key, self.inputs = key, list(inputs)

    class Input(_Input):
        io_type = "COMFY_DYNAMICCOMBO_V3"

        def __init__(self, id: str, options: Any, *args: Any, **given: Any) -> None:
            super().__init__(id, *args, **given)
            self.options = list(options)

        def _options(self) -> dict[str, Any]:
            return {"options": [{"key": o.key, "inputs": _listed(o.inputs)} for o in self.options]}

        def gathered(self, own: Any, inner: dict[str, Any]) -> Any:
            """The value of the input, from its own and those of the inputs below it. Raises ValueError for a choice that is none."""
            if own not in [o.key for o in self.options]:
                raise ValueError(f"{self.id} is {own!r:.60}; it must be one of {', '.join(o.key for o in self.options)}.")
            return {self.id: own, **inner}


class Autogrow:
    """An input that grows with what is wired in; `execute` gets {name: value} of those that are."""

    Type = dict

    class TemplateNames:
        def __init__(self, input: Any, names: Any, min: int = 1) -> None:
            self.input, self.names, self.min = input, list(names), min

        def as_dict(self) -> dict[str, Any]:
            return {"input": _listed([self.input]), "names": self.names, "min": self.min}

    class TemplatePrefix:
        def __init__(self, input: Any, prefix: str, min: int = 1, max: int = 10) -> None:
            self.input, self.prefix, self.min, self.max = input, prefix, min, max
            self.names = [f"{prefix}{i}" for i in range(max)]

        def as_dict(self) -> dict[str, Any]:
            return {"input": _listed([self.input]), "prefix": self.prefix, "min": self.min, "max": self.max}

    class Input(_Input):
        io_type = "COMFY_AUTOGROW_V3"

        def __init__(self, id: str, template: Any, *args: Any, **given: Any) -> None:
            super().__init__(id, *args, **given)
            self.template = template

        def _options(self) -> dict[str, Any]:
            return {"template": self.template.as_dict()}

        def gathered(self, own: Any, inner: dict[str, Any]) -> Any:
            """The values in the order of their names. Raises ValueError when there are too few."""
            found = {name: inner[name] for name in self.template.names if name in inner}
            if len(found) < self.template.min:
                raise ValueError(f"{self.id} needs at least {self.template.min} inputs, and {len(found)} are there.")
            return found


@dataclass
class Schema:
    """What a node is."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    search_aliases: list[str] = field(default_factory=list)
    price_badge: Any = None

    def finalize(self) -> None:
        """Run values that such nodes always get."""
        always = [Hidden.prompt, Hidden.extra_pnginfo] if self.is_output_node else []
        always += [Hidden.auth_token_comfy_org, Hidden.api_key_comfy_org] if self.is_api_node else []
        self.hidden = list(dict.fromkeys([*(self.hidden or []), *always]))

    def validate(self) -> None:
        """Raises ValueError when two inputs or two outputs share a name."""
        for what, things in (("inputs", self.inputs), ("outputs", self.outputs)):
            ids = [t.id for t in things or () if t.id is not None]
            if len(ids) != len(set(ids)):
                raise ValueError(f"{self.node_id}: two {what} share an id.")


class HiddenHolder:
    """The run values of a call, as `cls.hidden.<name>`; what was not declared is None."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.__dict__.update({h.name: None for h in Hidden})
        self.__dict__.update(values or {})

    def __getattr__(self, name: str) -> Any:
        return None


class _Locked(type):
    """Node classes are not written to while they run."""

    def __setattr__(cls, name: str, value: Any) -> None:
        if cls.__dict__.get("_locked"):
            raise AttributeError(f"{cls.__name__}.{name} cannot be set while the node runs: calls share the class. Return values instead.")
        super().__setattr__(name, value)


class ComfyNode(metaclass=_Locked):
    """The base of schema-form nodes: override `define_schema` and `execute`."""

    hidden: HiddenHolder = HiddenHolder()
    RELATIVE_PYTHON_MODULE: str | None = None

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError(f"{cls.__name__} has no define_schema.")

    @classmethod
    def execute(cls, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} has no execute.")

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        schema.finalize()
        schema.validate()
        return schema

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from backend.packs.v3 import input_types

        return input_types(cls)

    @classmethod
    def prepared(cls, hidden: dict[str, Any]) -> Any:
        """A locked class for one call, with its run values."""
        return type(cls)(cls.__name__, (cls,), {"hidden": HiddenHolder(hidden), "_locked": True, "__module__": cls.__module__})


class NodeOutput:
    """What `execute` returns: NodeOutput(*values, ui=..., expand=..., block_execution=...)."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None, block_execution: str | None = None, **kwargs: Any
    ) -> None:
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NodeOutput:
        return cls(*data.get("result", ()), ui=data.get("ui"), expand=data.get("expand"))

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class _UIOutput:
    """Something to show; `as_dict` gives the published form."""

    def as_dict(self) -> dict[str, Any]:
        raise NotImplementedError
