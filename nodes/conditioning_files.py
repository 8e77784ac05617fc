"""Conditioning as files: prompts that were encoded once, such as those that Marigold 2 comes with.

A file holds the encoded text as its one tensor of two or three dimensions, or under one of the usual names; what belongs to it
(`pooled_output`, `attention_mask`) lies beside it under its key. Several entries are told apart by a number in front: `0.cond`, `1.cond`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from backend.base.errors import BadFile
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import FileChoice, SavePrefix, node
from backend.weights.file import WeightFile
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.image_files import METADATA, embedded, saved
from nodes.loaders import open_named
from nodes.types import Conditioning

files = partial(node, category="advanced/conditioning", module="nodes")
TOKENS = ("cond", "conditioning", "cross_attn", "prompt_embeds", "encoder_hidden_states", "embedding", "embeddings")
BESIDE = {"pooled": "pooled_output", "pooled_output": "pooled_output", "pooled_prompt_embeds": "pooled_output",
          "attention_mask": "attention_mask", "mask": "attention_mask", "prompt_embeds_mask": "attention_mask"}  # fmt: skip
VALUES = "conditioning_values"


@files("ConditioningLoader", title="Load Conditioning")
def conditioning_loader(ctx: Context, *, conditioning_name: str = FileChoice("embeddings")) -> Conditioning:
    """Load a prompt that was encoded before: place the file into models/embeddings."""
    return open_named(ctx, "conditioning_name", "embeddings", conditioning_name, lambda path: read_conditioning(open_weights(path)))


@files("ConditioningSaver", title="Save Conditioning", output=True, hidden=METADATA)
def conditioning_saver(ctx: Context, *, conditioning: Conditioning, filename_prefix: str = SavePrefix("conditioning/Emulsion")) -> None:
    """Save an encoded prompt in the output directory. Moved into models/embeddings, Load Conditioning reads it without a text encoder."""
    place = next_save(filename_prefix, ctx.services.folders.directory("output"))
    path = place.folder / f"{place.name}_{place.counter:05}_.safetensors"
    tensors: dict[str, Tensor] = {}
    values: list[dict[str, Any]] = []
    for i, (tokens, extra) in enumerate(conditioning):
        tensors[f"{i}.cond"] = tokens
        tensors |= {f"{i}.{key}": value for key, value in extra.items() if isinstance(value, Tensor) and value.ndim}
        values.append({key: value for key, value in extra.items() if isinstance(value, int | float | str | bool)})
        left = sorted(key for key, value in extra.items() if not isinstance(value, Tensor | int | float | str | bool) and value is not None)
        if left:
            ctx.log(f"Not saved with the conditioning: {', '.join(left)}. Only tensors, numbers and texts have a place in the file.")
    kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    save_safetensors(path, kept, {**embedded(ctx), VALUES: json.dumps(values)})
    ctx.show("conditioning", [saved(path, place.subfolder, "output")])


def read_conditioning(file: WeightFile) -> list[list[Any]]:
    """The entries of a file, float32. Raises BadFile when it holds no encoded text."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key in file:
        number, _, rest = key.partition(".")
        at, name = (int(number), rest) if number.isdecimal() and rest else (0, key)
        entries.setdefault(at, {})[name] = file.tensor(key)
    values = _values(file, len(entries))
    return [_entry(file, entries[at], values[i]) for i, at in enumerate(sorted(entries))] or _refused(file)


def _entry(file: WeightFile, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> list[Any]:
    sequences = [key for key, value in tensors.items() if value.ndim in (2, 3) and value.is_floating_point() and key not in BESIDE]
    named = [key for key in TOKENS if key in sequences]
    if not named and len(sequences) != 1:
        _refused(file)
    tokens_key = (named or sequences)[0]
    tokens = tensors[tokens_key].float()
    extra = {BESIDE.get(key, key): _kept(value) for key, value in tensors.items() if key != tokens_key}
    return [tokens.reshape(-1, *tokens.shape[-2:]).clone(), {"pooled_output": None, **values, **extra}]


def _kept(value: Tensor) -> Tensor:
    return value.float().clone() if value.is_floating_point() else value.clone()


def _values(file: WeightFile, count: int) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.metadata.get(VALUES, "[]"))
    except ValueError:
        found = []
    listed = [value if isinstance(value, dict) else {} for value in found] if isinstance(found, list) else []
    return [*listed, *({} for _ in range(count))][:count]


def _refused(file: WeightFile) -> Any:
    raise BadFile(
        f"{file.path.name} holds no encoded prompt.",
        hint="Choose a file that Save Conditioning wrote, or that comes with a model. Embeddings of a word are used in a prompt instead.",
        file=file.path,
    )
