"""Which CLIP text encoders a file holds, read from key names and shapes alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.base.paths import Folders
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.inversion import Inversions
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.openclip import from_openclip
from backend.encoders.clip.tokenizer import ClipTokenizer
from backend.encoders.clip.vocabulary import END
from backend.encoders.joint import JointText
from backend.encoders.text import Found
from backend.memory.pool import Loadable
from backend.weights.file import Header, Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Part

HEAD_WIDTH = 64
H_WIDTH = 1024


@dataclass(frozen=True)
class Tower:
    """What shapes do not say of a text encoder: how it was trained, and which of its layers its diffusion models read."""

    branch: str
    quick: bool
    """x sigmoid(1.702 x) rather than the exact GELU."""
    pad: int
    """The token that fills a prompt up."""
    layer: int | None
    norm: bool


L = Tower("l", quick=True, pad=END, layer=None, norm=True)
"""OpenAI's CLIP ViT-L/14 (SD 1): the last layer."""
H = Tower("h", quick=False, pad=0, layer=-2, norm=True)
"""OpenCLIP ViT-H/14 (SD 2): the last layer but one, normed."""
G = Tower("g", quick=False, pad=0, layer=-2, norm=False)
"""OpenCLIP ViT-bigG/14 (SDXL): the last layer but one as it is."""
H_CUT = replace(H, layer=None)
"""H as diffusers keeps it: the layer that is not read was cut off."""


@dataclass(frozen=True)
class Place:
    """Where a kind of file keeps a text encoder. `prefix` is what stands before `text_model.` or, with `bare`, before its parts; before
    OpenCLIP's own names with `open`. `tower` is what is known to lie there; None: its width tells."""

    name: str
    prefix: str
    bare: bool = False
    open: bool = False
    tower: Tower | None = None


PLACES = (
    Place("checkpoint", "cond_stage_model.transformer."),
    Place("checkpoint of the first trainers", "cond_stage_model.transformer.", bare=True),
    Place("checkpoint with an OpenCLIP encoder", "cond_stage_model.model.", open=True, tower=H),
    Place("SDXL checkpoint, first encoder", "conditioner.embedders.0.transformer.", tower=L),
    Place("SDXL checkpoint, second encoder", "conditioner.embedders.1.model.", open=True, tower=G),
    Place("SDXL refiner checkpoint", "conditioner.embedders.0.model.", open=True, tower=G),
    Place("checkpoint with named encoders", "text_encoders.clip_l.transformer.", tower=L),
    Place("checkpoint with named encoders", "text_encoders.clip_g.transformer.", tower=G),
    Place("stand-alone file", ""),
    Place("stand-alone file without its root", "", bare=True),
    Place("stand-alone OpenCLIP file", "", open=True),
)
PARTS = ("embeddings.", "encoder.", "final_layer_norm.")


def parts_at(place: Place, header: Header) -> dict[str, Part]:
    """Net parameter name -> part of the file, for all keys at this place; empty when the encoder is not there."""
    if place.open:
        if place.prefix + "ln_final.weight" not in header:
            return {}
        inside = (key[len(place.prefix) :] for key in header if key.startswith(place.prefix))
        return {name: replace(part, key=place.prefix + part.key) for name, part in from_openclip(inside).items()}
    root = place.prefix if place.bare else place.prefix + "text_model."
    if root + "embeddings.token_embedding.weight" not in header:
        return {}
    starts = tuple(root + part for part in PARTS)
    parts = {"text_model." + key[len(root) :]: Part(key) for key in header if key.startswith(starts) and not key.endswith("position_ids")}
    projection = place.prefix + "text_projection.weight"
    return parts | ({"text_projection.weight": Part(projection)} if projection in header else {})


def sizes_of(shapes: Mapping[str, tuple[int, ...]], quick: bool | None = None) -> ClipSizes:
    """Sizes from shapes by net parameter name; `quick` None: the width tells. Raises KeyError naming a parameter that is missing."""
    vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
    projection = shapes.get("text_projection.weight")
    return ClipSizes(
        width=width,
        layers=_layers(shapes),
        heads=max(1, width // HEAD_WIDTH),
        mlp=shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        vocabulary=vocabulary,
        positions=shapes["text_model.embeddings.position_embedding.weight"][0],
        projection=projection[0] if projection else None,
        quick=width < H_WIDTH if quick is None else quick,
        end=END,
    )


def _layers(names: Mapping[str, object]) -> int:
    numbered = (re.match(r"text_model\.encoder\.layers\.(\d+)\.", name) for name in names)
    return 1 + max((int(found[1]) for found in numbered if found), default=-1)


def tower_of(place: Place, shapes: Mapping[str, tuple[int, ...]], quick: bool | None) -> Tower:
    """Which tower lies at a place that does not say: `quick` is what a configuration beside the file says of its activation."""
    width = shapes["text_model.embeddings.token_embedding.weight"][1]
    if place.tower is not None:
        return place.tower
    if quick is None:
        quick = width < H_WIDTH and not place.open
    if quick:
        return L
    if "text_projection.weight" in shapes and width != H_WIDTH:
        return G
    return H if place.open or _layers(shapes) >= 24 else H_CUT


def check(sizes: ClipSizes, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Every weight the net asks for is there in its shape. Raises BadFile naming the first that is not."""
    with torch.device("meta"):
        net = ClipText(sizes)
    for name, parameter in net.named_parameters():
        if name not in shapes:
            raise BadFile(f"{where} holds a CLIP text encoder without the weight {name}.", hint="The file is incomplete; fetch it again.")
        if shapes[name] != tuple(parameter.shape):
            raise BadFile(
                f"{where} holds a CLIP text encoder whose weight {name} has the shape {list(shapes[name])};"
                f" its other weights ask for {list(parameter.shape)}.",
                hint="The file is damaged or was merged from different models.",
            )


def from_checkpoint(
    source: Mapping[str, Tensor],
    header: Header,
    *,
    key: str | None = None,
    dtype: torch.dtype = torch.float32,
    folders: Folders | None = None,
    quick: bool | None = None,
) -> ClipHandle | None:
    """The first text encoder of a file, or None where it holds none of this kind. Reads no weight.

    `source` gives tensors by file key and `header` their shapes. `key` is the identity for the pool (default: the file and its time),
    `folders` says where `embedding:name` is looked up, `quick` what is known of the activation. Raises BadFile for an encoder that is
    incomplete.
    """
    found = all_of(source, header, key=key, dtype=dtype, folders=folders, quick=quick)
    return found[0] if found else None


def all_of(
    source: Mapping[str, Tensor],
    header: Header,
    *,
    key: str | None = None,
    dtype: torch.dtype = torch.float32,
    folders: Folders | None = None,
    quick: bool | None = None,
) -> list[ClipHandle]:
    """As `from_checkpoint`: every text encoder of the file, in order of PLACES, one for each tower."""
    found: dict[str, ClipHandle] = {}
    for place in PLACES:
        parts = parts_at(place, header)
        if not parts:
            continue
        where = path_of(source)
        shapes = {name: part.shape(tuple(header[part.key].shape)) for name, part in parts.items()}
        try:
            tower = tower_of(place, shapes, quick)
            sizes = sizes_of(shapes, tower.quick)
        except KeyError as error:
            raise BadFile(
                f"{where} holds a CLIP text encoder without the weight {error.args[0]}.", hint="The file is incomplete; fetch it again."
            ) from error
        if tower.branch in found:
            continue
        check(sizes, shapes, where)
        identified = f"{key or identity_of(source) + '#clip'}{'' if not found else '_' + tower.branch}"
        loadable = Loadable(identified, functools.partial(ClipText, sizes), renamed(source, parts), dtype=dtype)
        lookup = Inversions(folders, tower.branch, sizes.width) if folders else None
        tokenizer = ClipTokenizer(pad=tower.pad, lookup=lookup)
        found[tower.branch] = ClipHandle(loadable, sizes, tokenizer, tower.branch, tower.layer, tower.norm)
    return list(found.values())


def text_encoders(found: Found) -> list[ClipHandle]:
    """Every CLIP text encoder in a file. A configuration beside it says which activation was trained."""
    activation = found.config.get("hidden_act")
    quick = activation == "quick_gelu" if isinstance(activation, str) else None
    return all_of(Views(found.file), found.file, key=found.key, dtype=found.dtype, folders=found.folders, quick=quick)


def pair(l: ClipHandle, g: ClipHandle) -> JointText:
    """SDXL's pair: both read at the last layer but one, without the final norm."""
    return JointText((replace(l, layer=-2, norm=False), replace(g, layer=-2, norm=False)))


def joined(handles: Sequence[ClipHandle]) -> ClipHandle | JointText | None:
    """What CLIP encoders are together: one of them, SDXL's pair of L and bigG, or None for none."""
    by_branch = {handle.branch: handle for handle in handles}
    if {"l", "g"} <= by_branch.keys():
        return pair(by_branch["l"], by_branch["g"])
    return handles[0] if handles else None


def from_file(
    file: WeightFile,
    *,
    key: str | None = None,
    dtype: torch.dtype = torch.float32,
    folders: Folders | None = None,
    quick: bool | None = None,
) -> ClipHandle | None:
    """As `from_checkpoint`, for a stand-alone text encoder or a diffusers folder's `text_encoder` opened by backend.weights.open."""
    return from_checkpoint(Views(file), file, key=key, dtype=dtype, folders=folders, quick=quick)


def path_of(source: Mapping[str, Tensor]) -> str:
    """The file behind a source, for messages."""
    return source.file.path.name if isinstance(source, Views) else "This table of weights"


def identity_of(source: Mapping[str, Tensor]) -> str:
    """The file behind a source as it is now, for the pool."""
    return identity(source.file) if isinstance(source, Views) else f"weights at {id(source):x}"


def renamed(source: Mapping[str, Tensor], parts: Mapping[str, Part]) -> Mapping[str, Tensor]:
    """The source under net parameter names. A file stays a file, so that the pool can read ahead in it."""
    if isinstance(source, Views):
        return Views(MappedNames(source.file, parts))
    return {name: part.tensor(source[part.key]) for name, part in parts.items()}
