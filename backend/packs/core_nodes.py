"""Built-in node types as classes, for packs that use core nodes as a library or subclass them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from types import ModuleType
from typing import Any

import nodes
from backend.engine.context import Blocker, Context, Expand, Ui
from backend.graph.describe import object_info
from backend.graph.schema import Files, NodeType
from backend.packs.facade import dress, undress
from backend.packs.host import HOST

METHODS: Mapping[str, str] = {
    "CLIPTextEncode": "encode", "VAEEncode": "encode", "VAEDecode": "decode", "VAEEncodeTiled": "encode", "VAEDecodeTiled": "decode",
    "VAEEncodeForInpaint": "encode", "InpaintModelConditioning": "encode", "CLIPVisionEncode": "encode", "LoraLoader": "load_lora",
    "LoraLoaderModelOnly": "load_lora_model_only",
    "CheckpointLoaderSimple": "load_checkpoint", "CheckpointLoader": "load_checkpoint",
    "unCLIPCheckpointLoader": "load_checkpoint", "DiffusersLoader": "load_checkpoint", "UNETLoader": "load_unet",
    "CLIPLoader": "load_clip",
    "DualCLIPLoader": "load_clip", "VAELoader": "load_vae", "ControlNetLoader": "load_controlnet",
    "DiffControlNetLoader": "load_controlnet",
    "ControlNetApply": "apply_controlnet", "ControlNetApplyAdvanced": "apply_controlnet", "CLIPVisionLoader": "load_clip",
    "StyleModelLoader": "load_style_model", "StyleModelApply": "apply_stylemodel", "unCLIPConditioning": "apply_adm",
    "GLIGENLoader": "load_gligen", "GLIGENTextBoxApply": "append", "KSampler": "sample", "KSamplerAdvanced": "sample",
    "ConditioningConcat": "concat", "ConditioningCombine": "combine", "ConditioningAverage": "addWeighted",
    "ConditioningZeroOut": "zero_out", "ConditioningSetTimestepRange": "set_range", "ConditioningSetMask": "append",
    "ConditioningSetArea": "append", "ConditioningSetAreaPercentage": "append", "ConditioningSetAreaStrength": "append",
    "CLIPSetLastLayer": "set_last_layer", "EmptyLatentImage": "generate", "LatentUpscale": "upscale", "LatentUpscaleBy": "upscale",
    "LatentFromBatch": "frombatch", "RepeatLatentBatch": "repeat", "LatentComposite": "composite", "LatentBlend": "blend",
    "LatentRotate": "rotate", "LatentFlip": "flip", "LatentCrop": "crop", "SetLatentNoiseMask": "set_mask", "SaveLatent": "save",
    "LoadLatent": "load", "SaveImage": "save_images", "PreviewImage": "save_images", "LoadImage": "load_image",
    "LoadImageMask": "load_image", "LoadImageOutput": "load_image", "ImageScale": "upscale", "ImageScaleBy": "upscale",
    "ImageInvert": "invert", "ImageBatch": "batch", "ImagePadForOutpaint": "expand_image", "EmptyImage": "generate",
    "ImageUpscaleWithModel": "upscale", "UpscaleModelLoader": "load_model", "GrowMask": "expand_mask", "ImageCompositeMasked": "composite",
    "LatentCompositeMasked": "composite", "MaskToImage": "mask_to_image", "ImageToMask": "image_to_mask", "JoinImageWithAlpha":
    "join_image_with_alpha", "SplitImageWithAlpha": "split_image_with_alpha", "SamplerCustom": "sample", "SamplerCustomAdvanced": "sample",
    "BasicGuider": "get_guider", "CFGGuider": "get_guider", "BasicScheduler": "get_sigmas", "KSamplerSelect": "get_sampler",
    "RandomNoise": "get_noise", "DisableNoise": "get_noise", "LatentBatch": "batch", "FluxGuidance": "append", "ModelSamplingSD3": "patch",
    "ModelSamplingFlux": "patch", "ModelSamplingAuraFlow": "patch_aura", "ModelSamplingDiscrete": "patch", "RescaleCFG": "patch",
    "DifferentialDiffusion": "apply", "SetClipHooks": "apply_hooks", "CreateHookLora": "create_hook",
    "SetHookKeyframes": "set_hook_keyframes",
    "SolidMask": "solid", "InvertMask": "invert", "CropMask": "crop", "MaskComposite": "combine", "FeatherMask": "feather",
    "ThresholdMask": "image_to_mask", "ImageBlend": "blend_images", "ImageBlur": "blur", "ImageQuantize": "quantize",
    "ImageSharpen": "sharpen", "ImageScaleToTotalPixels": "upscale", "LatentAdd": "op", "LatentSubtract": "op", "LatentMultiply": "op",
    "LatentInterpolate": "op", "LatentBatchSeedBehavior": "op", "ImageCrop": "crop", "RepeatImageBatch": "repeat",
    "ImageFromBatch": "frombatch", "CLIPTextEncodeSDXL": "encode", "CLIPTextEncodeSDXLRefiner": "encode", "CLIPTextEncodeFlux": "encode",
    "PerturbedAttentionGuidance": "patch", "SelfAttentionGuidance": "patch", "FreeU": "patch", "FreeU_V2": "patch", "HyperTile": "patch",
    "PatchModelAddDownscale": "patch", "TomePatchModel": "patch", "ModelSamplingContinuousEDM": "patch", "ModelMergeSimple": "merge",
    "CLIPMergeSimple": "merge", "ImageColorToMask": "image_to_mask", "SplitSigmas": "get_sigmas", "FlipSigmas": "get_sigmas",
    "KarrasScheduler": "get_sigmas", "ExponentialScheduler": "get_sigmas", "SDTurboScheduler": "get_sigmas",
    "DualCFGGuider": "get_guider", "Canny": "detect_edge", "PorterDuffImageComposite": "composite",
}  # fmt: skip
"""The method packs call on core classes; every class answers to `execute` too."""
POSITIONS: Mapping[str, tuple[str, ...]] = {
    "CLIPTextEncode": ("clip", "text"),
    "VAEDecode": ("vae", "samples"),
    "VAEDecodeTiled": ("vae", "samples"),
    "VAEEncode": ("vae", "pixels"),
    "VAEEncodeTiled": ("vae", "pixels"),
    "VAEEncodeForInpaint": ("vae", "pixels"),
    "InpaintModelConditioning": ("positive", "negative", "pixels", "vae", "mask"),
    "ConditioningSetMask": ("conditioning", "mask", "set_cond_area", "strength"),
    "CLIPTextEncodeSDXLRefiner": ("clip", "ascore", "width", "height", "text"),
}
"""Leading arguments of methods whose order is not that of the published inputs."""


def builtin_types() -> dict[str, NodeType]:
    """The core's own node types by id."""
    return {t.id: t for t in _builtin()}


@functools.cache
def _builtin() -> tuple[NodeType, ...]:
    return tuple(nodes.builtin())


def choices(files: Files) -> list[str]:
    """The files a combo offers now."""
    from backend.graph.choices import FolderChoices

    folders = getattr(HOST.services, "folders", None)
    return [] if folders is None else FolderChoices(folders)(files)


class CoreNode:
    """What the classes of core node types share. `node_type` is the type a class stands for."""

    CORE: NodeType
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        info = object_info(cls.CORE, choices)["input"]
        return {
            group: {name: spec if group == "hidden" else tuple(spec) for name, spec in entries.items()} for group, entries in info.items()
        }

    @classmethod
    def execute(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the node on foreign values; the outputs as a tuple of them, or what is shown as a dict. Packs call it on instances too."""
        t = cls.CORE
        names = [*POSITIONS.get(t.id, ()), *(i.name for i in t.inputs if i.hidden is None), *t.hidden]
        names = list(dict.fromkeys(names))
        given = {**dict(zip(names, args)), **kwargs}
        for i in t.inputs:  # calls from code leave out what a widget would have held
            if i.name not in given and i.hidden is None and i.required and i.options and "default" in i.options:
                given[i.name] = i.options["default"]
        ctx = _inner(HOST.context(), given)
        for name in [*t.hidden, "prompt", "extra_pnginfo", "unique_id"]:
            if name not in t.by_name:
                given.pop(name, None)
        assert t.run is not None
        result = t.run(ctx, **{name: undress(value) for name, value in given.items()})
        if inspect.isawaitable(result):
            return _awaited(result, t, ctx)
        return to_foreign(result, t, ctx)


async def _awaited(result: Any, t: NodeType, ctx: Context) -> Any:
    return to_foreign(await result, t, ctx)


def _inner(ctx: Context, given: Mapping[str, Any]) -> Context:
    """A context for a core node that runs inside another: what it shows is its caller's to hand on."""
    made = Context(
        ctx.job, ctx.node, emit=ctx.emit, cancelled=ctx.cancelled, services=ctx.services, display_node=ctx.display_node,
        prompt=given.get("prompt") or ctx.prompt, extra=given.get("extra_pnginfo") or ctx.extra, values=ctx.values, graph=ctx.graph,
        instance=ctx.instance,
    )  # fmt: skip
    made.index = ctx.index
    return made


class Outputs(tuple[Any, ...]):
    """The outputs of a node; those of schema-form nodes are also asked for as an attribute."""

    __slots__ = ()

    @property
    def result(self) -> tuple[Any, ...]:
        return self

    @property
    def args(self) -> tuple[Any, ...]:
        return self


def to_foreign(result: Any, t: NodeType, ctx: Context) -> Any:
    """What one of our nodes returned, as a class-form node returns it."""
    if isinstance(result, Expand):
        return {"expand": dict(result.nodes), "result": tuple(result.outputs)}
    if isinstance(result, Blocker):
        return (dress(result),) * len(t.outputs)
    shown = {**(result.shown if isinstance(result, Ui) else {}), **ctx.shown}
    if isinstance(result, Ui):
        values: tuple[Any, ...] = result.outputs
    elif t.many:
        values = tuple(result) if isinstance(result, (tuple, list)) else ()
    else:
        values = (result,) if t.outputs else ()
    dressed = Outputs(dress(v) for v in values)
    return {"ui": shown, "result": dressed} if t.is_output or shown else dressed


def class_of(t: NodeType) -> type:
    """The class of a core node type, the same one each time."""
    if t.instance_of is not None:
        return t.instance_of
    return _class_of(t.id)


@functools.cache
def _class_of(id: str) -> type:
    t = builtin_types()[id]
    method = METHODS.get(id, "execute")
    space: dict[str, Any] = {
        "CORE": t,
        "__doc__": t.description,
        "__module__": t.module,
        "FUNCTION": method,
        "RETURN_TYPES": tuple(list(o.kind) if isinstance(o.kind, tuple) else o.kind for o in t.outputs),
        "RETURN_NAMES": tuple(o.name for o in t.outputs),
        "OUTPUT_IS_LIST": tuple(o.is_list for o in t.outputs),
        "OUTPUT_NODE": t.is_output,
        "CATEGORY": t.category,
        "DESCRIPTION": t.description,
        "INPUT_IS_LIST": t.input_is_list,
        "RELATIVE_PYTHON_MODULE": t.module,
    }
    if method != "execute":
        space[method] = vars(CoreNode)["execute"]
    bases: tuple[type, ...] = (CoreNode,)
    if id in ("SaveImage", "PreviewImage"):
        from backend.packs.savers import SAVERS

        bases = (SAVERS[id], CoreNode)
        del space[method]
    return type(id, bases, space)


class Mappings(MutableMapping[str, Any]):
    """NODE_CLASS_MAPPINGS: core classes made when asked for, and the classes of packs."""

    def __init__(self) -> None:
        self._own: dict[str, Any] = {}

    def __getitem__(self, id: str) -> Any:
        if id in self._own:
            return self._own[id]
        if id in builtin_types():
            return _class_of(id)
        t = HOST.types().get(id)
        if t is None or t.instance_of is None:
            raise KeyError(id)
        return t.instance_of

    def __setitem__(self, id: str, cls: Any) -> None:
        self._own[id] = cls

    def __delitem__(self, id: str) -> None:
        del self._own[id]

    def _ids(self) -> dict[str, None]:
        return dict.fromkeys([*builtin_types(), *(id for id, t in HOST.types().items() if t.instance_of is not None), *self._own])

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())

    def __contains__(self, id: object) -> bool:
        return id in self._own or id in builtin_types() or id in HOST.types()

    def copy(self) -> dict[str, Any]:
        return dict(self)


class Titles(Mappings):
    """NODE_DISPLAY_NAME_MAPPINGS."""

    def __getitem__(self, id: str) -> Any:
        if id in self._own:
            return self._own[id]
        t = builtin_types().get(id) or HOST.types().get(id)
        if t is None:
            raise KeyError(id)
        return t.title or id

    def _ids(self) -> dict[str, None]:
        return dict.fromkeys([*builtin_types(), *HOST.types(), *self._own])


def shelf_ids() -> set[str]:
    """The module names under which built-in node types are published."""
    return {t.module for t in _builtin()}


def _functions(id: str) -> dict[str, Any]:
    """Functions and small classes that packs take out of such a module besides its nodes: the contents of `extras.<name>`."""
    from backend.packs import extras

    return dict(extras.OF.get(id, dict)())


_FORMER = {"Blend": "ImageBlend", "Blur": "ImageBlur", "Quantize": "ImageQuantize", "Sharpen": "ImageSharpen"}
"""Class names that differ from the ids."""


class Shelf:
    """Looks up the classes that one published module name holds. A pack may know a class under another name than its id's."""

    def __init__(self, id: str, module: ModuleType) -> None:
        self.id, self.module = id, module
        ids = [t.id for t in _builtin() if t.module == id]
        module.__dict__["NODE_CLASS_MAPPINGS"] = {i: _class_of(i) for i in ids}
        module.__dict__.update(_functions(id))
        module.__dict__["__all__"] = ids

    def __call__(self, name: str) -> Any:
        found = self.module.__dict__["NODE_CLASS_MAPPINGS"].get(_FORMER.get(name, name))
        if found is not None:
            return found
        if not name.startswith("__"):
            HOST.want(f"{self.id}.{name}")
        raise AttributeError(f"module {self.id!r} has no attribute {name!r} here", name=name)


class _NodesModule(ModuleType):
    """Our own package `nodes`, which also answers to the names packs look for in a module called so."""

    def __getattr__(self, name: str) -> Any:
        if name in _NODES_NAMES:
            value = _NODES_NAMES[name]()
        elif not name.startswith("_") and name in builtin_types():
            return _class_of(name)
        else:
            if not name.startswith("_"):
                HOST.want(f"nodes.{name}")
            raise AttributeError(f"module 'nodes' has no attribute {name!r}", name=name, obj=self)
        setattr(self, name, value)
        return value


def _common_ksampler() -> Any:
    def common_ksampler(
        model: Any, seed: int, steps: int, cfg: float, sampler_name: str, scheduler: str, positive: Any, negative: Any, latent: Any,
        denoise: float = 1.0, disable_noise: bool = False, start_step: int | None = None, last_step: int | None = None,
        force_full_denoise: bool = False,
    ) -> tuple[Any]:  # fmt: skip
        from backend.diffusion.ksample import ksample
        from nodes.sampling import watch

        handle, ctx = undress(model), HOST.context()
        return (
            ksample(
                handle, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent, denoise, pool=ctx.services.pool,
                on_step=watch(ctx, steps, handle.family.latent), disable_noise=disable_noise, start_step=start_step, last_step=last_step,
                force_full_denoise=force_full_denoise,
            ),
        )  # fmt: skip

    return common_ksampler


def _interrupt() -> Any:
    def interrupt_processing(value: bool = True) -> None:
        HOST.interrupted.set() if value else HOST.interrupted.clear()

    return interrupt_processing


def _check() -> Any:
    def before_node_execution() -> None:
        HOST.context().check()

    return before_node_execution


_NODES_NAMES: Mapping[str, Any] = {
    "NODE_CLASS_MAPPINGS": Mappings,
    "NODE_DISPLAY_NAME_MAPPINGS": Titles,
    "EXTENSION_WEB_DIRS": dict,
    "LOADED_MODULE_DIRS": dict,
    "MAX_RESOLUTION": lambda: 16384,
    "common_ksampler": _common_ksampler,
    "interrupt_processing": _interrupt,
    "before_node_execution": _check,
}


def extend_nodes() -> None:
    """Let our package answer to the foreign names too."""
    sys.modules["nodes"].__class__ = _NodesModule
