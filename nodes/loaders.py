"""Loading models from files. Only headers are read here; weights follow when something runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch

from backend.base.errors import NotInstalled, Problem
from backend.codecs.pixels import pixel_space
from backend.codecs.tiny.spec import LATENTS
from backend.engine.context import Blocker, Context
from backend.families import kin, load
from backend.families.configs import PUBLISHED, read_config
from backend.graph.declare import Choice, Combo, FileChoice, Float, Wired, node
from backend.graph.schema import Files
from backend.nn.eight import multiplies
from backend.weights import lora
from backend.weights.adapters.blocks import EVEN, BlockWeights
from backend.weights.open import open_weights
from nodes.types import Clip, ClipVision, Model, Vae

loader = partial(node, category="loaders", module="nodes")
T = TypeVar("T")
CLIP_TYPES = (
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan", "hidream",
    "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image", "flux2", "ovis", "longcat_image", "cogvideox", "lens", "pixeldit",
    "ideogram4", "boogu", "krea2", "fibo2", "mage", "minimax", "moss_image",
)  # fmt: skip
"""What `type` says in files; a word whose family is not installed is refused in words."""
DUAL_TYPES = ("sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image", "hunyuan_video_15", "kandinsky5", "kandinsky5_image",
    "ltxv", "newbie", "ace")  # fmt: skip
THREE, FOUR = "sd3", "hidream"
"""The models that read three text encoders, and four."""
FLOAT8 = {"fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e4m3fn_fast": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
STRENGTH: dict[str, Any] = {"min": -100.0, "max": 100.0, "step": 0.01}


class Checkpoint(NamedTuple):
    MODEL: Model
    CLIP: Clip
    VAE: Vae


class UnclipCheckpoint(NamedTuple):
    MODEL: Model
    CLIP: Clip
    VAE: Vae
    CLIP_VISION: ClipVision


class ModelAndClip(NamedTuple):
    MODEL: Model
    CLIP: Clip


def open_named(ctx: Context, input: str, kind: str, name: str, read: Callable[..., T]) -> T:
    """Find a file of a folder kind and read it; what goes wrong is said of this node and input."""
    try:
        return read(ctx.services.folders.find_or_raise(kind, name))
    except Problem as problem:
        raise problem.at(node=ctx.node, input=input, file=name) from problem.__cause__


def _checkpoint(ctx: Context, input: str, kind: str, name: str) -> Checkpoint:
    """The parts of a checkpoint; a part it lacks blocks whatever would use it, with a sentence."""
    return _parts(name, _loaded(ctx, input, kind, name))


def _loaded(ctx: Context, input: str, kind: str, name: str) -> load.Loaded:
    loaded = open_named(ctx, input, kind, name, lambda path: load.load_checkpoint(path, ctx.services))
    ctx.log(f"{name}: {loaded.sentence()}.")
    return loaded


def _parts(name: str, loaded: load.Loaded) -> Checkpoint:
    return Checkpoint(
        _part(name, loaded.model, "diffusion model", "Load Diffusion Model"),
        _part(name, loaded.clip, "text encoder", "Load CLIP"),
        _part(name, loaded.vae, "VAE", "Load VAE"),
    )


def _part(name: str, value: Any, what: str, node_title: str) -> Any:
    return value if value is not None else Blocker(f"{name} holds no {what}. Load one with the node {node_title}.")


@loader(
    "CheckpointLoaderSimple",
    title="Load Checkpoint",
    output_tooltips=("The model that denoises latents.", "The text encoder.", "The VAE that turns latents into pictures and back."),
)
def checkpoint_loader_simple(ctx: Context, *, ckpt_name: str = FileChoice("checkpoints", tooltip="The checkpoint to load.")) -> Checkpoint:
    """Load a checkpoint: model, text encoder and VAE."""
    return _checkpoint(ctx, "ckpt_name", "checkpoints", ckpt_name)


@loader("CheckpointLoader", title="Load Checkpoint With Config (DEPRECATED)", category="advanced/loaders", deprecated=True)
def checkpoint_loader(
    ctx: Context, *, config_name: str = Choice(Files("configs", tuple(PUBLISHED), first=True)), ckpt_name: str = FileChoice("checkpoints")
) -> Checkpoint:
    """Load a checkpoint and read it as a configuration file says. Load Checkpoint finds that out by itself."""
    try:
        config = PUBLISHED.get(config_name) or read_config(ctx.services.folders.find_or_raise("configs", config_name))
    except Problem as problem:
        raise problem.at(node=ctx.node, input="config_name") from problem.__cause__
    found = _checkpoint(ctx, "ckpt_name", "checkpoints", ckpt_name)
    model, clip = found.MODEL, found.CLIP
    if not isinstance(model, Blocker):
        model = config.applied(model)
    if config.clip_layer is not None and not isinstance(clip, Blocker):
        clip = clip.with_layer(config.clip_layer)
    return Checkpoint(model, clip, found.VAE)


@loader("DiffusersLoader", category="advanced/loaders/deprecated")
def diffusers_loader(ctx: Context, *, model_path: str = FileChoice("diffusers")) -> Checkpoint:
    """Load a model that is a folder in the diffusers layout."""
    return _checkpoint(ctx, "model_path", "diffusers", model_path)


@loader("unCLIPCheckpointLoader")
def unclip_checkpoint_loader(ctx: Context, *, ckpt_name: str = FileChoice("checkpoints")) -> UnclipCheckpoint:
    """Load a checkpoint that is conditioned on images, with its image encoder."""
    loaded = _loaded(ctx, "ckpt_name", "checkpoints", ckpt_name)
    return UnclipCheckpoint(*_parts(ckpt_name, loaded), _part(ckpt_name, loaded.vision, "CLIP image encoder", "Load CLIP Vision"))


@loader("UNETLoader", title="Load Diffusion Model", category="advanced/loaders")
def unet_loader(
    ctx: Context,
    *,
    unet_name: str = FileChoice("diffusion_models"),
    weight_dtype: str = Choice(["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]),
) -> Model:
    """Load a diffusion model without text encoder and VAE. In float8 its weights take half the memory and lose a little precision; with
    fp8_e4m3fn_fast products are computed in float8 too, where the device can, which is faster and loses a little more."""
    dtype, fast = FLOAT8.get(weight_dtype), weight_dtype.endswith("_fast")
    if fast and not multiplies(ctx.services.pool.device):
        ctx.log(f"{unet_name}: this device does not multiply in float8, so products are computed as with fp8_e4m3fn.")
    return open_named(
        ctx, "unet_name", "diffusion_models", unet_name, lambda path: load.load_diffusion_model(path, ctx.services, dtype, fast)
    )


def _text_encoders(ctx: Context, names: dict[str, str], type: str) -> Clip:
    """The text encoders of the files by input, as models of that type hear them."""
    try:
        load.joiners_of(type)
    except NotInstalled as problem:
        raise problem.at(node=ctx.node, input="type") from None
    paths = [open_named(ctx, input, "text_encoders", name, lambda path: path) for input, name in names.items()]
    try:
        return load.load_text_encoders(paths, ctx.services, type)
    except Problem as problem:
        broken = str(problem.where.file or "")
        input = next((i for i, path in zip(names, paths, strict=True) if broken.startswith(str(path))), next(iter(names)))
        raise problem.at(node=ctx.node, input=input, file=names[input]) from problem.__cause__


def _say_device(ctx: Context, name: str, device: str) -> None:
    if device == "cpu" and ctx.services.pool.device.type != "cpu":
        ctx.log(f"{name}: the memory planner decides where the text encoder lies; `device` is not needed.")


@loader("CLIPLoader", title="Load CLIP", category="advanced/loaders")
def clip_loader(
    ctx: Context,
    *,
    clip_name: str = FileChoice("text_encoders"),
    type: str = Choice(CLIP_TYPES),
    device: str = Choice(["default", "cpu"], optional=True, advanced=True),
) -> Clip:
    """Load a text encoder. The file tells what it is; `type` says for which models it encodes."""
    _say_device(ctx, clip_name, device)
    return _text_encoders(ctx, {"clip_name": clip_name}, type)


@loader("DualCLIPLoader", category="advanced/loaders")
def dual_clip_loader(
    ctx: Context,
    *,
    clip_name1: str = FileChoice("text_encoders"),
    clip_name2: str = FileChoice("text_encoders"),
    type: str = Choice(DUAL_TYPES),
    device: str = Choice(["default", "cpu"], optional=True, advanced=True),
) -> Clip:
    """Load two text encoders that work together, in either order: CLIP-L and OpenCLIP-bigG for SDXL, CLIP-L and T5-XXL for Flux."""
    _say_device(ctx, clip_name1, device)
    return _text_encoders(ctx, {"clip_name1": clip_name1, "clip_name2": clip_name2}, type)


@loader("TripleCLIPLoader", category="advanced/loaders", module="comfy_extras.nodes_sd3", form="v3")
def triple_clip_loader(
    ctx: Context,
    *,
    clip_name1: str = Combo(Files("text_encoders")),
    clip_name2: str = Combo(Files("text_encoders")),
    clip_name3: str = Combo(Files("text_encoders")),
) -> Clip:
    """Load the three text encoders of Stable Diffusion 3, in any order: CLIP-L, OpenCLIP-bigG and T5-XXL."""
    return _text_encoders(ctx, {"clip_name1": clip_name1, "clip_name2": clip_name2, "clip_name3": clip_name3}, THREE)


@loader("QuadrupleCLIPLoader", category="advanced/loaders", module="comfy_extras.nodes_hidream", form="v3")
def quadruple_clip_loader(
    ctx: Context,
    *,
    clip_name1: str = Combo(Files("text_encoders")),
    clip_name2: str = Combo(Files("text_encoders")),
    clip_name3: str = Combo(Files("text_encoders")),
    clip_name4: str = Combo(Files("text_encoders")),
) -> Clip:
    """Load the four text encoders of HiDream, in any order: CLIP-L, OpenCLIP-bigG, T5-XXL and Llama 3.1."""
    names = {"clip_name1": clip_name1, "clip_name2": clip_name2, "clip_name3": clip_name3, "clip_name4": clip_name4}
    return _text_encoders(ctx, names, FOUR)


@loader("VAELoader", title="Load VAE")
def vae_loader(
    ctx: Context,
    *,
    vae_name: str = Choice(Files("vae", ("pixel_space",), coders=tuple(LATENTS))),
) -> Vae:
    """Load a VAE, large or tiny (taesd and its kin, whose two files lie in vae_approx); `pixel_space` for models that need none."""
    if vae_name == "pixel_space":
        return pixel_space()
    if vae_name in LATENTS:
        try:
            return load.load_tiny_vae(vae_name, ctx.services)
        except Problem as problem:
            raise problem.at(node=ctx.node, input="vae_name", file=vae_name) from problem.__cause__
    return open_named(ctx, "vae_name", "vae", vae_name, lambda path: load.load_vae(path, ctx.services))


def with_lora(
    ctx: Context, model: Model, clip: Clip | None, name: str, strength_model: float, strength_clip: float, blocks: BlockWeights = EVEN
) -> tuple[Any, Any]:
    """Both with the LoRA of that name; it is not opened when all of it has no strength."""
    strength_clip *= blocks.text
    if strength_model == 0 and strength_clip == 0:
        return model, clip

    def read(path: Any) -> tuple[Any, Any, lora.Report]:
        return lora.apply(model, clip, open_weights(path), strength_model, strength_clip, kin=kin, weights=blocks.of)

    patched_model, patched_clip, report = open_named(ctx, "lora_name", "loras", name, read)
    ctx.log(f"{name}: {report}.")
    return patched_model, patched_clip


@loader("LoraLoader", title="Load LoRA", output_tooltips=("The changed model.", "The changed text encoder."))
def lora_loader(
    ctx: Context,
    *,
    model: Model = Wired(tooltip="The model to change."),
    clip: Clip = Wired(tooltip="The text encoder to change."),
    lora_name: str = FileChoice("loras", tooltip="The LoRA."),
    strength_model: float = Float(1.0, **STRENGTH, tooltip="How much to change the model; may be negative."),
    strength_clip: float = Float(1.0, **STRENGTH, tooltip="How much to change the text encoder; may be negative."),
) -> ModelAndClip:
    """Change a model and its text encoder by a LoRA. The loaded weights themselves are never touched; several can be chained."""
    return ModelAndClip(*with_lora(ctx, model, clip, lora_name, strength_model, strength_clip))


@loader("LoraLoaderModelOnly", output_tooltips=("The changed model.",))
def lora_loader_model_only(
    ctx: Context, *, model: Model, lora_name: str = FileChoice("loras"), strength_model: float = Float(1.0, **STRENGTH)
) -> Model:
    """Change a model by a LoRA and leave the text encoder alone."""
    patched: Model = with_lora(ctx, model, None, lora_name, strength_model, 0.0)[0]
    return patched
