"""Which parameter of a net an adapter file means: tables of every published spelling, made from the net's own parameter names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from backend.weights.adapters.read import Target
from backend.weights.file import Origin


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a weight of the net that are a weight of their own where the file comes from."""

    module: str
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Turned:
    """A weight of the net whose equal parts stand in another order where the file comes from: ours are the file's `order`."""

    module: str
    order: tuple[int, ...]


Place = str | Rows | Turned
Aliases = Mapping[str, Place]
"""Name of a module in an adapter file -> name of the module in the net, or the part of it that is meant."""


def module_of(place: Place) -> str:
    """The module in the net."""
    return place if isinstance(place, str) else place.module


def owner(parameter: str) -> str:
    """The module that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def modules(parameters: Iterable[str]) -> list[str]:
    """The modules that own these parameters, each once, in order."""
    return list(dict.fromkeys(owner(name) for name in parameters))


def under(module: str) -> str:
    """kohya's spelling: underscores for dots."""
    return module.replace(".", "_")


def unet_aliases(parameters: Iterable[str], spellings: Mapping[str, Origin]) -> Aliases:
    """For a diffusion net: kohya, full, unet. and plain names, each over the net's own parameter names and over their other `spellings`."""
    table: dict[str, Place] = {}
    others: dict[str, dict[str, Place]] = {}
    for ours, theirs in spellings.items():
        if ours.endswith(".weight") or isinstance(theirs, str):
            others.setdefault(owner(ours), {}).update(_places(owner(ours), theirs))
    for module in modules(parameters):
        for name, place in ({module: module} | others.get(module, {})).items():
            for one in _spelled(name):
                table.setdefault(one, place)
    return table


PREFIXES = ("", "unet.", "transformer.", "diffusion_model.", "model.diffusion_model.", "base_model.model.", "conditional_transformer.")
"""What stands before the name of a module of a diffusion net."""
KOHYA = ("lora_unet_", "lora_transformer_", "lycoris_")


def _spelled(name: str) -> Iterator[str]:
    for one in (name, name.removesuffix(".0")) if name.endswith(".to_out.0") else (name,):
        yield from (prefix + one for prefix in PREFIXES)
    yield from (prefix + under(name) for prefix in KOHYA)


def _places(module: str, origin: Origin) -> dict[str, Place]:
    """The modules that a weight is in another spelling, and what each is of ours."""
    if isinstance(origin, str):
        return {owner(origin): module}
    if len({piece.key for piece in origin}) == 1:
        return {owner(origin[0].key): Turned(module, tuple(piece.index for piece in origin))}
    found: dict[str, Place] = {}
    start = 0
    for piece in origin:
        found[owner(piece.key)] = Rows(module, start, piece.rows)
        start += piece.rows
    return found


def text_aliases(parameters: Iterable[str]) -> Aliases:
    """For CLIP text encoders under transformers' names. Those of a pair carry `clip_<branch>.` in front and are counted from 1."""
    encoders: dict[str, list[str]] = {}
    for module in modules(parameters):
        roof, _, rest = module.partition(".")
        encoders.setdefault(roof if roof.startswith(ROOF) and rest else "", []).append(module)
    table: dict[str, Place] = {}
    for number, (roof, own) in enumerate(encoders.items(), 1):
        table |= _one_encoder(own, roof, number)
    return table


ROOF = "clip_"
T5 = "t5xxl"
"""Trainers count it as the third encoder, whether or not there is a second."""


def _one_encoder(modules: Iterable[str], roof: str, number: int) -> Aliases:
    table: dict[str, Place] = {}
    kohya = [f"lora_te{number}_"] if roof else ["lora_te_", "lora_te1_"]
    long = roof.removeprefix(ROOF) if len(roof) > len(ROOF) + 1 else ""
    branches = [long] if long else [roof] if roof else [*(f"{ROOF}{branch}" for branch in "lhg"), T5]
    kohya += ["lora_te3_"] if long == T5 and number != 3 else []
    dotted = [f"text_encoder{'' if number == 1 else f'_{number}'}."]
    dotted += [f"{start}{branch}.transformer." for branch in branches for start in ("text_encoders.", "")]
    for module in modules:
        plain = module.removeprefix(f"{roof}.")
        for prefix in kohya:
            table[prefix + under(plain)] = module
        for prefix in dotted:
            table[prefix + plain] = module
            table[prefix + plain.removeprefix("text_model.")] = module
        if number == 1:
            table[f"lycoris_{under(plain)}"] = module
    return table


def is_text(module: str) -> bool:
    """Whether the file's name of a module speaks of a text encoder."""
    return module.startswith(("lora_te", "text_encoder", "lycoris_text_model", ROOF))


ANY_ENCODER = re.compile(r"(?:text_encoders\.)?(?P<branch>[a-z0-9_]+)\.transformer\.(?:model\.)?(?P<rest>.+)")
WITH_ROOT = re.compile(r"(?P<start>text_encoder(?:_\d)?\.|lora_te\d?_)model[._](?P<rest>.+)")


def _general(module: str) -> Iterator[str]:
    """Other names that a text encoder of any make may have for this module: without its branch, without the root of language models."""
    if found := WITH_ROOT.fullmatch(module):
        yield found["start"] + found["rest"]
    if found := ANY_ENCODER.fullmatch(module):
        for start in ("text_encoder.", "text_encoder_2.", "text_encoder_3.", "text_encoder_4."):
            yield f"{start}{found['branch']}.{found['rest']}"
            yield start + found["rest"]


def place_of(target: Target, aliases: Aliases) -> Place | None:
    """What a target means, or None."""
    names = (target.module, *_general(target.module))
    return next((aliases[name] for name in names if name in aliases), None)


def resolve(target: Target, aliases: Aliases, parameters: Mapping[str, object]) -> str | None:
    """The net parameter a target means, or None."""
    place = place_of(target, aliases)
    if place is None:
        return None
    leaves = ("weight", "scale") if target.leaf == "weight" else (target.leaf,)  # some norms call theirs so
    return next((name for leaf in leaves if (name := f"{module_of(place)}.{leaf}") in parameters), None)
