"""Adapter files of all spellings (kohya, diffusers, peft, LyCORIS) as adapters by the names the file uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from backend.weights.adapters.kinds import (
    Adapter,
    Decomposed,
    Difference,
    Hadamard,
    Kronecker,
    LowRank,
    Product,
    Replacement,
)
from backend.weights.adapters.orthogonal import Butterfly, Orthogonal
from backend.weights.adapters.peft import PeftConfig
from backend.weights.file import WeightFile, bad

ENDINGS: tuple[tuple[str, str], ...] = (
    (r"\.lora_up\.weight|\.lora_B(?:\.default)?\.weight|\.lora_B|_lora\.up\.weight|\.lora(?:_linear_layer)?\.up\.weight", "up"),
    (r"\.lora_down\.weight|\.lora_A(?:\.default)?\.weight|\.lora_A|_lora\.down\.weight|\.lora(?:_linear_layer)?\.down\.weight", "down"),
    (r"(?<=_lora[12])\.up\.weight", "up"),
    (r"(?<=_lora[12])\.down\.weight", "down"),
    (r"\.lora_mid\.weight", "mid"),
    (r"\.lora_B\.bias", "diff_b"),
    (r"(?<=_norm)\.scale", "set_weight"),
    (r"(?:_lora|\.lora)?\.alpha", "alpha"),
    (r"\.dora_scale", "magnitude"),
    (r"\.lora_magnitude_vector(?:\.default)?(?:\.weight)?", "row_magnitude"),
    (r"\.(hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|oft_blocks|rescale|diff|diff_b|set_weight)", ""),
    (r"\.w_norm", "diff"),
    (r"\.b_norm", "diff_b"),
)
"""How the name of a tensor may end, and what the tensor then is ("": what the group says)."""

COMPILED = tuple((re.compile(f"(?:{ending})$"), name) for ending, name in ENDINGS)
PATTERN = re.compile("|".join(f"(?:{ending})$" for ending, _ in ENDINGS))
WRAPPER = re.compile(r"^(?:base_model\.model\.)+|\.processor(?=\.)")
STREAMS = {"1": "img", "2": "txt"}
XLABS = re.compile(r"(double_blocks\.\d+)\.(qkv|proj)_lora([12])")
"""How XLabs names the attentions of Flux's two streams."""


class Target(NamedTuple):
    """What an adapter changes, in the words of its file."""

    module: str
    leaf: str
    """ "weight" or "bias"."""


@dataclass(frozen=True)
class Adapters:
    """The content of an adapter file."""

    by_target: Mapping[Target, Adapter]
    unknown: tuple[str, ...]
    """Tensors that belong to no adapter of a known kind."""


def read_adapters(file: WeightFile) -> Adapters:
    """All adapters of a file. Reads only the scales; factors stay views on the file. Raises BadFile for parts that do not fit together."""
    parts: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for key in file:
        module, part = split(key)
        if part is None:
            unknown.append(key)
        else:
            parts.setdefault(module, {})[part] = key
    config = PeftConfig.of(file)
    found: dict[Target, Adapter] = {}
    for module, keys in parts.items():
        used: set[str] = set()
        for leaf, adapter in adapters_of(Reader(file, module, keys, used, config)):
            found[Target(module, leaf)] = adapter
        unknown += [key for part, key in keys.items() if part not in used and part != "alpha"]
    return Adapters(found, tuple(unknown))


def split(key: str) -> tuple[str, str | None]:
    """Module and part of a tensor's name; part None where the ending is unknown."""
    found = PATTERN.search(key)
    if found is None:
        return key, None
    ending = found.group()
    part = next(name for pattern, name in COMPILED if pattern.match(key, found.start()))
    module = WRAPPER.sub("", key[: found.start()])
    if match := XLABS.fullmatch(module):
        module = f"{match[1]}.{STREAMS[match[3]]}_attn.{match[2]}"
    return module, part or ending[1:]


@dataclass(frozen=True)
class Reader:
    """The tensors of one module."""

    file: WeightFile
    module: str
    keys: Mapping[str, str]
    used: set[str]
    config: PeftConfig

    def get(self, part: str) -> Tensor | None:
        if part not in self.keys:
            return None
        self.used.add(part)
        return self.file.tensor(self.keys[part])

    def number(self, part: str) -> float | None:
        value = self.get(part)
        return None if value is None else float(value.float().reshape(-1)[0])

    def scale(self, rank: int | None) -> float:
        """α/r; 1 where the file gives no α or nothing has a rank."""
        alpha = self.number("alpha")
        if alpha is not None and rank:
            return alpha / rank
        return self.config.scale(self.module, rank) if rank else 1.0

    def product(self, name: str, tucker: str) -> Product | None:
        whole, a, b = self.get(name), self.get(f"{name}_a"), self.get(f"{name}_b")
        if whole is not None:
            return Product(whole=whole)
        return None if a is None or b is None else Product(a=a, b=b, t=self.get(tucker))


def adapters_of(r: Reader) -> Iterator[tuple[str, Adapter]]:
    """(leaf, adapter) for the tensors of one module."""
    weight = low_rank(r) or hadamard(r) or kronecker(r) or orthogonal(r) or written_out(r)
    if weight is not None:
        magnitude, rows = r.get("magnitude"), r.get("row_magnitude")
        magnitude = rows.flatten() if rows is not None else magnitude
        yield "weight", weight if magnitude is None else Decomposed(weight, magnitude)
    bias = r.get("diff_b")
    if bias is not None:
        yield "bias", Difference(bias)


def low_rank(r: Reader) -> Adapter | None:
    if "up" not in r.keys or "down" not in r.keys:
        return None
    up, down, mid = r.get("up"), r.get("down"), r.get("mid")
    assert up is not None and down is not None
    rank = down.shape[0] if down.dim() > 1 else 0
    inside = (rank, rank) if mid is None else (mid.shape[0], mid.shape[1])
    if up.dim() < 2 or not rank or (up.shape[1], rank) != inside:
        raise bad(r.file.path, f"the two factors of {r.module} do not fit together: {list(up.shape)} and {list(down.shape)}")
    return LowRank(up, down, r.scale(rank), mid)


def hadamard(r: Reader) -> Adapter | None:
    first, second = r.product("hada_w1", "hada_t1"), r.product("hada_w2", "hada_t2")
    if first is None or second is None:
        return None
    if first.size != second.size:
        raise bad(r.file.path, f"the two products of {r.module} differ in shape: {first.size} and {second.size}")
    return Hadamard(first, second, r.scale(first.rank))


def kronecker(r: Reader) -> Adapter | None:
    first, second = r.product("lokr_w1", "lokr_t1"), r.product("lokr_w2", "lokr_t2")
    if first is None or second is None:
        return None
    return Kronecker(first, second, r.scale(second.rank or first.rank))


def orthogonal(r: Reader) -> Adapter | None:
    """Trainers keep the constraint per output row under the name alpha."""
    blocks = r.get("oft_blocks")
    if blocks is None:
        return None
    if blocks.dim() not in (3, 4) or blocks.shape[-1] != blocks.shape[-2] or (blocks.dim() == 4 and blocks.shape[-1] % 2):
        raise bad(r.file.path, f"the blocks of {r.module} have the shape {list(blocks.shape)}, not that of OFT or BOFT")
    constraint = (r.number("alpha") or 0.0) * blocks.shape[-3] * blocks.shape[-1]
    return (Orthogonal if blocks.dim() == 3 else Butterfly)(blocks, constraint, r.get("rescale"))


def written_out(r: Reader) -> Adapter | None:
    value = r.get("set_weight")
    if value is not None:
        return Replacement(value)
    value = r.get("diff")
    return None if value is None else Difference(value)
