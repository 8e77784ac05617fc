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


def text_aliases(parameters: Iterable[str], encoder: int = 1) -> Aliases:
    """For a CLIP text encoder under transformers' names; `encoder` counts the text encoders of the model from 1."""
    table: dict[str, str] = {}
    kohya = ["lora_te_", "lora_te1_"] if encoder == 1 else [f"lora_te{encoder}_"]
    dotted = ["text_encoder.", "text_encoders.clip_l.transformer."] if encoder == 1 else [f"text_encoder_{encoder}."]
    for module in modules(parameters):
        for prefix in kohya:
            table[prefix + under(module)] = module
        for prefix in dotted:
            table[prefix + module] = module
            table[prefix + module.removeprefix("text_model.")] = module
        if encoder == 1:
            table[f"lycoris_{under(module)}"] = module
    return table


def is_text(module: str) -> bool:
    """Whether the file's name of a module speaks of a text encoder."""
    return module.startswith(("lora_te", "text_encoder", "lycoris_text_model"))


def resolve(target: Target, aliases: Aliases, parameters: Mapping[str, object]) -> str | None:
    """The net parameter a target means, or None."""
    module = aliases.get(target.module)
    name = f"{module}.{target.leaf}"
    return name if module is not None and name in parameters else None
