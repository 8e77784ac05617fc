"""Which parameter of a net an adapter file means: tables of every published spelling, made from the net's own parameter names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from backend.weights.adapters.read import Target

Aliases = Mapping[str, str]
"""Name of a module in an adapter file -> name of the module in the net."""

RES_INSIDE = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""Inside a residual block: single-file name -> diffusers name."""

ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def modules(parameters: Iterable[str]) -> list[str]:
    """The modules that own these parameters, each once, in order."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))


def under(module: str) -> str:
    """kohya's spelling: underscores for dots."""
    return module.replace(".", "_")


def unet_aliases(parameters: Iterable[str]) -> Aliases:
    """For a UNet under single-file names: kohya with single-file or diffusers names, diffusers, peft, and the plain names."""
    table: dict[str, str] = {}
    owners = modules(parameters)
    diffusers = diffusers_names(owners)
    for module in owners:
        for name in (module, diffusers.get(module, module)):
            spellings = [name, f"unet.{name}", f"diffusion_model.{name}", f"model.diffusion_model.{name}"]
            if name.endswith(".to_out.0"):
                spellings += [spelling.removesuffix(".0") for spelling in spellings]
            spellings += [f"lora_unet_{under(name)}", f"lycoris_{under(name)}"]
            for spelling in spellings:
                table.setdefault(spelling, module)
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


def diffusers_names(owners: Iterable[str]) -> dict[str, str]:
    """Single-file module name -> diffusers module name, for the modules of a UNet."""
    owners = list(owners)
    parts = dict(part_names(owners))
    table = dict(ENDS)
    for module in owners:
        found = re.match(r"((?:input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+)\.(.+)", module)
        if found and found[1] in parts:
            part = parts[found[1]]
            inside = RES_INSIDE.get(found[2], found[2]) if ".resnets." in part else found[2]
            table[module] = f"{part}.conv" if "samplers." in part else f"{part}.{inside}"
    return table


def part_names(owners: list[str]) -> Iterator[tuple[str, str]]:
    """(single-file, diffusers) for the blocks of a UNet, told apart by what they contain."""
    kinds: dict[tuple[str, int, int], str] = {}
    for module in owners:
        found = re.match(r"(input_blocks|output_blocks|middle_block)\.(\d+)\.(?:(\d+)\.)?(in_layers|transformer_blocks|op$|conv$)", module)
        if found:
            side, n, m, content = found.groups()
            kinds[side, int(n), int(m or 0)] = content
    level = block = 0
    for side, n, m in sorted(key for key in kinds if key[0] == "input_blocks"):
        content = kinds[side, n, m]
        if content == "op":
            yield f"{side}.{n}.{m}", f"down_blocks.{level}.downsamplers.0"
            level, block = level + 1, 0
        elif content == "in_layers":
            yield f"{side}.{n}.{m}", f"down_blocks.{level}.resnets.{block}"
            block += 1
        else:
            yield f"{side}.{n}.{m}", f"down_blocks.{level}.attentions.{block - 1}"
    numbers = {"in_layers": -1, "transformer_blocks": -1}
    for side, n, m in sorted(key for key in kinds if key[0] == "middle_block"):
        content = kinds[side, n, m]
        numbers[content] += 1
        yield f"{side}.{n}", f"mid_block.{'resnets' if content == 'in_layers' else 'attentions'}.{numbers[content]}"
    level = block = 0
    for side, n, m in sorted(key for key in kinds if key[0] == "output_blocks"):
        content = kinds[side, n, m]
        if content == "conv":
            yield f"{side}.{n}.{m}", f"up_blocks.{level}.upsamplers.0"
            level, block = level + 1, 0
        elif content == "in_layers":
            yield f"{side}.{n}.{m}", f"up_blocks.{level}.resnets.{block}"
            block += 1
        else:
            yield f"{side}.{n}.{m}", f"up_blocks.{level}.attentions.{block - 1}"
