"""Which parameter of a net an adapter file means: tables of every published spelling, made from the net's own parameter names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backend.weights.adapters.read import Target

Aliases = Mapping[str, str]
"""Name of a module in an adapter file -> name of the module in the net."""


def owner(parameter: str) -> str:
    """The module that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def modules(parameters: Iterable[str]) -> list[str]:
    """The modules that own these parameters, each once, in order."""
    return list(dict.fromkeys(owner(name) for name in parameters))


def under(module: str) -> str:
    """kohya's spelling: underscores for dots."""
    return module.replace(".", "_")


def unet_aliases(parameters: Iterable[str], spellings: Mapping[str, str]) -> Aliases:
    """For a diffusion net: kohya, full, unet. and plain names, each over the net's own parameter names and over their other `spellings`."""
    table: dict[str, str] = {}
    others = {owner(ours): owner(theirs) for ours, theirs in spellings.items()}
    for module in modules(parameters):
        for name in (module, others.get(module, module)):
            known = [name, f"unet.{name}", f"diffusion_model.{name}", f"model.diffusion_model.{name}"]
            if name.endswith(".to_out.0"):
                known += [one.removesuffix(".0") for one in known]
            known += [f"lora_unet_{under(name)}", f"lycoris_{under(name)}"]
            for one in known:
                table.setdefault(one, module)
    return table


def text_aliases(parameters: Iterable[str]) -> Aliases:
    """For CLIP text encoders under transformers' names. Those of a pair carry `clip_<branch>.` in front and are counted from 1."""
    encoders: dict[str, list[str]] = {}
    for module in modules(parameters):
        roof, _, rest = module.partition(".")
        encoders.setdefault(roof if roof.startswith(ROOF) and rest else "", []).append(module)
    table: dict[str, str] = {}
    for number, (roof, own) in enumerate(encoders.items(), 1):
        table |= _one_encoder(own, roof, number)
    return table


ROOF = "clip_"


def _one_encoder(modules: Iterable[str], roof: str, number: int) -> Aliases:
    table: dict[str, str] = {}
    kohya = [f"lora_te{number}_"] if roof else ["lora_te_", "lora_te1_"]
    branches = [roof] if roof else [f"{ROOF}{branch}" for branch in "lhg"]
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


def resolve(target: Target, aliases: Aliases, parameters: Mapping[str, object]) -> str | None:
    """The net parameter a target means, or None."""
    module = aliases.get(target.module)
    name = f"{module}.{target.leaf}"
    return name if module is not None and name in parameters else None
