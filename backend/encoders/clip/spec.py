"""Which CLIP text encoder a file holds, read from key names and shapes alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.base.paths import Folders
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.inversion import Inversions
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.tokenizer import ClipTokenizer
from backend.encoders.clip.vocabulary import END
from backend.memory.pool import Loadable
from backend.weights.file import Header, Renamed, Views, WeightFile, identity

HEAD_WIDTH = 64
QUICK_WIDTHS_BELOW = 1024
"""OpenAI's towers (L is 768 wide) use the quick GELU; the OpenCLIP towers H (1024) and bigG (1280) the exact one."""


@dataclass(frozen=True)
class Place:
    """Where a kind of file keeps a text encoder. `prefix` is what stands before `text_model.` or, with `bare`, before its parts."""

    name: str
    prefix: str
    bare: bool = False


PLACES = (
    Place("checkpoint", "cond_stage_model.transformer."),
    Place("checkpoint of the first trainers", "cond_stage_model.transformer.", bare=True),
    Place("checkpoint with named encoders", "text_encoders.clip_l.transformer."),
    Place("stand-alone file", ""),
    Place("stand-alone file without its root", "", bare=True),
)
PARTS = ("embeddings.", "encoder.", "final_layer_norm.")


def names_at(place: Place, header: Header) -> dict[str, str]:
    """Net parameter name -> file key, for all keys at this place; empty when the encoder is not there."""
    root = place.prefix if place.bare else place.prefix + "text_model."
    if root + "embeddings.token_embedding.weight" not in header:
        return {}
    names = {"text_model." + key[len(root) :]: key for key in header if key.startswith(tuple(root + part for part in PARTS))}
    names = {name: key for name, key in names.items() if not name.endswith("position_ids")}
    projection = place.prefix + "text_projection.weight"
    return names | ({"text_projection.weight": projection} if projection in header else {})


def sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> ClipSizes:
    """Sizes from shapes by net parameter name. Raises KeyError naming a parameter that is missing."""
    vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
    numbered = (re.match(r"text_model\.encoder\.layers\.(\d+)\.", name) for name in shapes)
    projection = shapes.get("text_projection.weight")
    return ClipSizes(
        width=width,
        layers=1 + max((int(found[1]) for found in numbered if found), default=-1),
        heads=max(1, width // HEAD_WIDTH),
        mlp=shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        vocabulary=vocabulary,
        positions=shapes["text_model.embeddings.position_embedding.weight"][0],
        projection=projection[0] if projection else None,
        quick=width < QUICK_WIDTHS_BELOW,
        end=END,
    )


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
) -> ClipHandle | None:
    """The text encoder of a file, or None where it holds none of this kind. Reads no weight.

    `source` gives tensors by file key and `header` their shapes. `key` is the identity for the pool (default: the file and its time),
    `folders` says where `embedding:name` is looked up. Raises BadFile for an encoder that is incomplete.
    """
    names: dict[str, str] = next(filter(None, (names_at(place, header) for place in PLACES)), {})
    if not names:
        return None
    where = path_of(source)
    shapes = {name: tuple(header[old].shape) for name, old in names.items()}
    try:
        sizes = sizes_of(shapes)
    except KeyError as error:
        raise BadFile(
            f"{where} holds a CLIP text encoder without the weight {error.args[0]}.", hint="The file is incomplete; fetch it again."
        ) from error
    check(sizes, shapes, where)
    loadable = Loadable(key or f"{identity_of(source)}#clip", functools.partial(ClipText, sizes), renamed(source, names), dtype=dtype)
    lookup = Inversions(folders, "l", sizes.width) if folders else None
    return ClipHandle(loadable, sizes, ClipTokenizer(pad=END, lookup=lookup))


def from_file(
    file: WeightFile, *, key: str | None = None, dtype: torch.dtype = torch.float32, folders: Folders | None = None
) -> ClipHandle | None:
    """As `from_checkpoint`, for a stand-alone text encoder or a diffusers folder's `text_encoder` opened by backend.weights.open."""
    return from_checkpoint(Views(file), file, key=key, dtype=dtype, folders=folders)


def path_of(source: Mapping[str, Tensor]) -> str:
    """The file behind a source, for messages."""
    return source.file.path.name if isinstance(source, Views) else "This table of weights"


def identity_of(source: Mapping[str, Tensor]) -> str:
    """The file behind a source as it is now, for the pool."""
    return identity(source.file) if isinstance(source, Views) else f"weights at {id(source):x}"


def renamed(source: Mapping[str, Tensor], names: Mapping[str, str]) -> Mapping[str, Tensor]:
    """The source under net parameter names. A file stays a file, so that the pool can read ahead in it."""
    if isinstance(source, Views):
        return Views(Renamed(source.file, names))
    return {name: source[old] for name, old in names.items()}
