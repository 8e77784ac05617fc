"""Which language models a file holds, told by names and shapes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from backend.base.errors import BadFile
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.makes import Shown, make_of, sizes_of
from backend.encoders.lm.names import EMBEDDINGS, Place, places
from backend.encoders.lm.net import Head, LanguageModel
from backend.encoders.lm.sizes import DeltaSizes, LmSizes
from backend.encoders.lm.vision.spec import vision_of as vision_tower
from backend.encoders.text import Found
from backend.encoders.vocabularies import vocabulary
from backend.memory.pool import Loadable
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, Views, WeightFile

GATE = "layers.0.mlp.gate_proj.weight"
KEY_CHANNELS = 128
"""Of a head in layers that remember in a matrix."""


def text_encoders(found: Found) -> list[LmHandle]:
    """Every language model in a file whose make is known. Raises BadFile for one that is incomplete, MissingFile without a vocabulary."""
    handles = []
    for place in places(found.file):
        handle = _at(place, found)
        if handle is not None:
            handles.append(handle)
    return handles


def _at(place: Place, found: Found) -> LmHandle | None:
    named = Renamed(found.file, place.names)
    try:
        shown = shown_by(named, vision_of(found.file), found.config)
        make = make_of(shown)
        if make is None:
            return None
        sizes = _stored(sizes_of(make, shown), place)
        vision = vision_tower(found) if make.image else None
    except (KeyError, IndexError, ValueError) as error:
        raise BadFile(
            f"{found.file.path.name} holds a language model whose weights do not fit together ({error}).",
            hint="The file is incomplete or damaged: fetch it again.",
            file=found.file.path,
        ) from error
    check(sizes, named, f"{found.file.path.name} holds the language model {make.name}, but")
    key = f"{found.key}_{make.branch(shown.width)}"
    dtype = torch.bfloat16 if found.dtype == torch.float16 else found.dtype  # they were trained in it, and Gemma's exceed the range of fp16
    loadable = Loadable(key, functools.partial(LanguageModel, sizes), Views(named), dtype=dtype)
    head = None
    if place.head is not None:
        source = Views(Renamed(found.file, {"lm_head.weight": place.head}))
        head = Loadable(f"{key}_head", functools.partial(Head, sizes), source, dtype=dtype)
    words = vocabulary(make.vocabulary, found.file, sizes.vocabulary, found.tokenizer)
    return LmHandle(loadable, sizes, make, words, make.branch(shown.width), head, vision)


def shown_by(header: Header, vision: str = "", config: Mapping[str, Any] | None = None) -> Shown:
    """What a header under the net's names shows. Raises KeyError, ValueError."""
    rows, width = header[EMBEDDINGS].shape
    said = dict(config or {})
    text = said.get("text_config")
    names = said.get("architectures")
    layers = count(header, "layers")
    first = next(i for i in (*range(layers), None) if i is None or f"layers.{i}.self_attn.q_proj.weight" in header)
    attention = f"layers.{first}.self_attn."
    norm = header.get(attention + "q_norm.weight")
    queries = header[attention + "o_proj.weight"].shape[1]
    return Shown(
        width=width,
        layers=layers,
        queries=queries,
        gated=header[attention + "q_proj.weight"].shape[0] == 2 * queries,
        delta=_delta(header, text if isinstance(text, Mapping) else said),
        every=0 if first is None else first + 1,
        keys=header[attention + "k_proj.weight"].shape[0],
        mlp=header[GATE].shape[0],
        vocabulary=rows,
        bias=attention + "q_proj.bias" in header,
        normed=norm.shape[0] if norm is not None else None,
        sandwich="layers.0.post_feedforward_layernorm.weight" in header,
        vision=vision,
        config=text if isinstance(text, Mapping) else said,
        architecture=str(names[0]) if isinstance(names, list) and names else "",
    )


def _delta(header: Header, said: Mapping[str, Any]) -> DeltaSizes | None:
    """Of the first layer, if it remembers in a matrix."""
    start = "layers.0.linear_attn."
    if start + "in_proj_qkv.weight" not in header:
        return None
    value, key = header[start + "norm.weight"].shape[0], int(said.get("linear_key_head_dim") or KEY_CHANNELS)
    values = header[start + "in_proj_z.weight"].shape[0]
    keys = (header[start + "in_proj_qkv.weight"].shape[0] - values) // 2
    return DeltaSizes(keys // key, values // value, key, value, header[start + "conv1d.weight"].shape[2])


def vision_of(header: Header) -> str:
    """Which vision tower lies beside a language model."""
    if any(".deepstack_merger_list." in key or "deepstack_merger_list.0" in key for key in header):
        return "qwen3"
    return "qwen2" if any(key.endswith("visual.patch_embed.proj.weight") for key in header) else ""


def _stored(sizes: LmSizes, place: Place) -> LmSizes:
    """Sizes for the way in which the place stores weights."""
    sizes = replace(sizes, final="norm.weight" in place.names)
    if not place.llama_cpp:
        return sizes
    return replace(sizes, offset=False, neighbours=not sizes.bias and not sizes.qk_norm and not sizes.sandwich)


def check(sizes: LmSizes, header: WeightFile, what: str) -> None:
    """Every weight the net asks for is there in its shape. Raises BadFile naming the first that is not."""
    with torch.device("meta"):
        net = LanguageModel(sizes)
    for name, parameter in net.named_parameters():
        if name not in header:
            raise BadFile(f"{what} the weight {name} is missing.", hint="The file is incomplete; fetch it again.", file=header.path)
        if header[name].shape != tuple(parameter.shape):
            raise BadFile(
                f"{what} its weight {name} has the shape {list(header[name].shape)}; its other weights ask for {list(parameter.shape)}.",
                hint="The file is damaged or was merged from different models.",
                file=header.path,
            )
