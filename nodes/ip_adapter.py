"""IP-Adapter: pictures as prompts."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

import torch

from backend.adapters.ip.apply import Embeds, Wish, with_pictures
from backend.adapters.ip.spec import IPAdapter, load_ip_adapter
from backend.adapters.places import Place, attention_places
from backend.base.errors import BadFile, BadInput, Problem
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.families.sd.unet import UNetSizes
from backend.graph.declare import Choice, FileChoice, Float, SavePrefix, Text, node
from backend.graph.schema import Files, Socket
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.image_files import content_of
from nodes.loaders import open_named
from nodes.types import ClipVision, Image, Mask, Model

shelf = partial(node, category="conditioning/ip adapter", module="emulsion")
IPAdapterWire = Annotated[IPAdapter, Socket("IP_ADAPTER")]
EmbedsWire = Annotated[Embeds, Socket("IP_ADAPTER_EMBEDS")]
FaceEmbeds = Annotated[torch.Tensor, Socket("FACE_EMBEDS")]
LAYERS = ["all", "style", "layout", "style and layout"]
COND, UNCOND = "cond", "uncond"


def _weight() -> float:
    widget: float = Float(1.0, min=-5.0, max=5.0, step=0.05)
    return widget


def _percent(default: float) -> float:
    widget: float = Float(default, min=0.0, max=1.0, step=0.001)
    return widget


def _layers() -> str:
    widget: str = Choice(LAYERS, tooltip="Where pictures count. Style and layout each mean one layer (InstantStyle).")
    return widget


def _by_layer() -> str:
    widget: str = Text("", multiline=True, tooltip="A weight for single blocks, as in `output 1: 1.0, input 8: 0.5`; others get none.")
    return widget


@shelf("LoadIPAdapter", title="Load IP-Adapter", category="loaders")
def load_ip_adapter_node(ctx: Context, *, ip_adapter_name: str = FileChoice("ipadapter")) -> IPAdapterWire:
    """Load an IP-Adapter: base, plus, full face or FaceID, for SD 1 or SDXL."""
    return open_named(ctx, "ip_adapter_name", "ipadapter", ip_adapter_name, lambda path: load_ip_adapter(path, ctx.services))


@shelf("EncodeIPAdapter", title="Encode for IP-Adapter")
def encode_ip_adapter(
    ctx: Context, *, ip_adapter: IPAdapterWire, clip_vision: ClipVision, image: Image, negative_image: Image | None = None
) -> EmbedsWire:
    """Encode pictures once, to apply or save them. Several pictures count together; without a negative one, nothing is seen there."""
    return _encoded(ctx, ip_adapter, clip_vision, image, negative_image)


def _encoded(ctx: Context, adapter: IPAdapter, vision: Any, image: torch.Tensor, negative: torch.Tensor | None) -> Embeds:
    pool = ctx.services.pool
    if adapter.sizes.projection.startswith("face"):
        raise BadInput(
            f"{adapter.file.path.name} works on a face's identity, not on a picture alone.",
            hint="Use the node Apply IP-Adapter FaceID.",
            node=ctx.node,
            input="ip_adapter",
        )
    states = adapter.sizes.projection in ("plus", "full")
    cond = _seen(vision.encode_image(image, pool), states)
    if negative is not None:
        return Embeds(cond, _seen(vision.encode_image(negative, pool), states))
    return Embeds(cond, _nothing(ctx, vision) if states else torch.zeros_like(cond[:1]))


def _seen(output: Any, states: bool) -> torch.Tensor:
    found: torch.Tensor = output.penultimate_hidden_states if states or output.image_embeds is None else output.image_embeds
    return found


def _nothing(ctx: Context, vision: Any) -> torch.Tensor:
    """What the image encoder sees in a picture whose every normalised value is zero, as the adapters were trained."""
    pool, side = ctx.services.pool, vision.sizes.side
    with torch.no_grad(), pool.lease(vision.loadable) as net:
        seen: torch.Tensor = net(torch.zeros(1, 3, side, side, device=pool.device, dtype=vision.loadable.dtype)).penultimate
    return seen.float().cpu()


@shelf("ApplyIPAdapter", title="Apply IP-Adapter")
def apply_ip_adapter(
    ctx: Context,
    *,
    model: Model,
    ip_adapter: IPAdapterWire,
    clip_vision: ClipVision,
    image: Image,
    weight: float = _weight(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
    layers: str = _layers(),
    layer_weights: str = _by_layer(),
    negative_image: Image | None = None,
    mask: Mask | None = None,
) -> Model:
    """Let a model see pictures as part of the prompt. Several can be chained, each with its own weight, mask and span."""
    embeds = _encoded(ctx, ip_adapter, clip_vision, image, negative_image)
    wish = _wish(ctx, model, weight, start_percent, end_percent, layers, layer_weights, mask)
    return _applied(ctx, model, ip_adapter, embeds, wish)


@shelf("ApplyIPAdapterEmbeds", title="Apply IP-Adapter Embeds")
def apply_ip_adapter_embeds(
    ctx: Context,
    *,
    model: Model,
    ip_adapter: IPAdapterWire,
    embeds: EmbedsWire,
    weight: float = _weight(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
    layers: str = _layers(),
    layer_weights: str = _by_layer(),
    mask: Mask | None = None,
) -> Model:
    """Apply IP-Adapter to pictures that are encoded already."""
    return _applied(ctx, model, ip_adapter, embeds, _wish(ctx, model, weight, start_percent, end_percent, layers, layer_weights, mask))


@shelf("ApplyIPAdapterFaceID", title="Apply IP-Adapter FaceID")
def apply_ip_adapter_face_id(
    ctx: Context,
    *,
    model: Model,
    ip_adapter: IPAdapterWire,
    face_embeds: FaceEmbeds,
    weight: float = _weight(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
    layers: str = _layers(),
    layer_weights: str = _by_layer(),
    clip_vision: ClipVision | None = None,
    image: Image | None = None,
    mask: Mask | None = None,
) -> Model:
    """Let a model see whose face it is. Plus adapters also want the picture of the face and an image encoder."""
    if not ip_adapter.sizes.projection.startswith("face"):
        text = f"{ip_adapter.file.path.name} is no FaceID adapter."
        raise BadInput(text, hint="Use the node Apply IP-Adapter.", node=ctx.node, input="ip_adapter")
    states = nothing = None
    if ip_adapter.sizes.projection == "face plus" and clip_vision is not None and image is not None:
        states = _seen(clip_vision.encode_image(image, ctx.services.pool), True)
        if len(states) != len(face_embeds):
            text = f"There are {len(face_embeds)} faces but {len(states)} pictures."
            raise BadInput(text, hint="Give one picture for each face, in the same order.", node=ctx.node, input="image")
        nothing = _nothing(ctx, clip_vision).expand(len(states), -1, -1)
    embeds = Embeds(face_embeds, torch.zeros_like(face_embeds), states, nothing)
    wish = _wish(ctx, model, weight, start_percent, end_percent, layers, layer_weights, mask)
    return _applied(ctx, model, ip_adapter, embeds, wish)


def _applied(ctx: Context, model: Model, adapter: IPAdapter, embeds: Embeds, wish: Wish) -> Model:
    try:
        return with_pictures(model, adapter, embeds, wish, ctx.services.pool)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__


def _wish(ctx: Context, model: Any, weight: float, start: float, end: float, layers: str, by_layer: str, mask: torch.Tensor | None) -> Wish:
    percent = model.noise.percent_to_sigma
    mask = None if mask is None else mask.reshape(-1, *mask.shape[-2:])
    places = [place for place, _ in attention_places(model.sizes)] if isinstance(model.sizes, UNetSizes) else []
    chosen = _named(ctx, by_layer, places) if by_layer.strip() else None if layers == "all" else _parts(layers, places)
    return Wish(weight, percent(start), percent(end), mask, chosen)


def _parts(layers: str, places: list[Place]) -> dict[Place, float]:
    """InstantStyle (Wang et al. 2024): layout is the last block with attention on the way down, style the second one on the way up."""
    down = [place for place in places if place[0] == "input"]
    up = sorted({place[1] for place in places if place[0] == "output"})
    wanted = {("input", down[-1][1])} if "layout" in layers and down else set()
    if "style" in layers and len(up) > 1:
        wanted.add(("output", up[1]))
    return {place: 1.0 for place in places if place[:2] in wanted}


def _named(ctx: Context, text: str, places: list[Place]) -> dict[Place, float]:
    known = {f"{block} {number}" for block, number, _ in places}
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        name, _, value = part.partition(":")
        match = re.fullmatch(r"\s*(input|middle|output)\s+(\d+)\s*", name)
        try:
            number = float(value)
        except ValueError:
            match = None
        if match is None or f"{match[1]} {match[2]}" not in known:
            raise BadInput(
                f"`{part:.60}` names no block with a weight.",
                hint=f"Write as in `output 1: 1.0`; this model has {', '.join(sorted(known))}.",
                node=ctx.node,
                input="layer_weights",
            )
        found[f"{match[1]} {match[2]}"] = number
    return {place: found[f"{place[0]} {place[1]}"] for place in places if f"{place[0]} {place[1]}" in found}


@shelf("SaveIPAdapterEmbeds", title="Save IP-Adapter Embeds", output=True)
def save_ip_adapter_embeds(ctx: Context, *, embeds: EmbedsWire, filename_prefix: str = SavePrefix("ipadapter/embeds")) -> None:
    """Save encoded pictures into the output directory."""
    place = next_save(filename_prefix, ctx.services.folders.directory("output"))
    path = place.folder / f"{place.name}_{place.counter:05}_.safetensors"
    save_safetensors(path, {COND: embeds.cond.contiguous(), UNCOND: embeds.uncond.contiguous()})


@shelf("LoadIPAdapterEmbeds", title="Load IP-Adapter Embeds", fingerprint=content_of("input", "embeds"))
def load_ip_adapter_embeds(ctx: Context, *, embeds: str = Choice(Files("input", content=("",)))) -> EmbedsWire:
    """Load encoded pictures that were saved before, from the input directory."""
    tensors = _tensors(ctx, embeds, "embeds")
    if COND in tensors:
        return Embeds(tensors[COND], tensors.get(UNCOND, torch.zeros_like(tensors[COND])))
    first = next(iter(tensors.values()))
    if first.ndim >= 3 and first.shape[0] == 2:  # as diffusers saves them: for the negative, then for the positive
        return Embeds(first[1], first[0])
    return Embeds(first, torch.zeros_like(first))


@shelf("LoadFaceEmbeds", title="Load Face Embeds", fingerprint=content_of("input", "embeds"))
def load_face_embeds(ctx: Context, *, embeds: str = Choice(Files("input", content=("",)))) -> FaceEmbeds:
    """Load the identities of faces, as a face recogniser (512 numbers a face) gave them, from the input directory."""
    first = next(iter(_tensors(ctx, embeds, "embeds").values()))
    return first.reshape(-1, first.shape[-1])


def _tensors(ctx: Context, name: str, input: str) -> dict[str, torch.Tensor]:
    """The tensors of a file in the input directory, float32. Raises BadFile where there are none."""
    try:
        file = open_weights(ctx.services.folders.resolve(name, "input"))
        tensors = {key: file.tensor(key).float().clone() for key in file}
        if not tensors:
            raise BadFile(f"{name} holds no tensors.", hint="Choose a file of saved embeds.")
        return tensors
    except Problem as problem:
        raise problem.at(node=ctx.node, input=input, file=name) from problem.__cause__
