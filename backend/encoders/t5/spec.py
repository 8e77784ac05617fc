"""Which T5 encoders a file holds, read from key names and shapes alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from backend.base.errors import BadFile
from backend.encoders.clip.inversion import Inversions
from backend.encoders.t5.handle import T5Handle
from backend.encoders.t5.net import T5Sizes, T5Text
from backend.encoders.text import Found
from backend.encoders.vocabularies import T5, UMT5, Kind, vocabulary
from backend.memory.pool import Loadable
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Header, Renamed, Views, WeightFile

PILE = Kind("Pile-T5", "pile_t5", wanted="tokenizer.json or tokenizer.model")
MANY = 100_000
"""More tokens than this are those of many languages."""
BASE = 768

MARK = "encoder.block.0.layer.0.SelfAttention.q.weight"
TABLES = ("shared.weight", "encoder.embed_tokens.weight")
LLAMA_CPP = {
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
    "ffn_norm": "layer.1.layer_norm",
}
"""Names in GGUF files: what stands between `enc.blk.N.` and `.weight` -> what stands between `encoder.block.N.` and it."""
INSIDE = ("spiece_model", "tekken_model")


@dataclass(frozen=True)
class Make:
    """What shapes do not say of an encoder."""

    branch: str
    title: str
    kind: Kind
    end: int = 1
    pad: int = 0
    trims: bool = True


def make_of(sizes: T5Sizes) -> Make:
    """Which encoder has these sizes."""
    if sizes.own_bias and sizes.vocabulary > MANY:
        return Make("umt5base" if sizes.width == BASE else "umt5xxl", "UMT5", UMT5)
    if sizes.own_bias:
        return Make("pile_t5xl", "Pile-T5-XL", PILE, end=2, pad=1, trims=False)
    return Make("t5base", "T5-base", T5) if sizes.width == BASE else Make("t5xxl", "T5-XXL", T5)


def text_encoders(found: Found) -> list[T5Handle]:
    """Every T5 encoder in a file. Raises BadFile for one that is incomplete."""
    handles: dict[str, T5Handle] = {}
    for part in _parts(found.file):
        try:
            sizes = sizes_of(part)
            check(sizes, part)
        except MALFORMED as error:
            lacks = (
                f"without the weight {error.args[0]}" if isinstance(error, KeyError) else f"whose shapes contradict each other ({error})"
            )
            text = f"{found.file.path.name} holds a T5 text encoder {lacks}."
            raise BadFile(text, hint="The file is incomplete; fetch it again.", file=found.file.path) from error
        made = make_of(sizes)
        # 16 bits of fp16 do not hold what the larger encoders compute
        dtype = torch.bfloat16 if found.dtype == torch.float16 else found.dtype
        loadable = Loadable(f"{found.key}_{made.branch}", functools.partial(T5Text, sizes), Views(part), dtype=dtype)
        lookup = Inversions(found.folders, made.branch, sizes.width) if found.folders else None
        words = functools.partial(vocabulary, made.kind, part, sizes.vocabulary, found.tokenizer)
        handle = T5Handle(loadable, sizes, made.branch, made.title, words, made.end, made.pad, made.trims, lookup=lookup)
        handles.setdefault(made.branch, handle)
    return list(handles.values())


def _parts(file: WeightFile) -> Iterator[WeightFile]:
    """The encoders in a file under their published names, with the vocabulary that lies among them."""
    for key in file:
        if key.endswith(MARK):
            prefix = key.removesuffix(MARK)
            own = {name.removeprefix(prefix): name for name in file if name.startswith(prefix)}
            yield Renamed(file, _with_vocabulary(file, prefix, {_table(name): key for name, key in own.items()}))
        elif key == "enc.blk.0.attn_q.weight":
            yield Renamed(file, _with_vocabulary(file, "", _from_llama_cpp(file)))


def _table(name: str) -> str:
    return TABLES[0] if name in TABLES else name


def _with_vocabulary(file: Header, prefix: str, names: dict[str, str]) -> dict[str, str]:
    """Only the encoder's own weights, and the bytes of a vocabulary beside them."""
    own = {name: key for name, key in names.items() if name == TABLES[0] or name.startswith("encoder.")}
    above = prefix.removesuffix("transformer.")
    return own | {name: above + name for name in INSIDE if above + name in file}


def _from_llama_cpp(file: Header) -> dict[str, str]:
    names = {TABLES[0]: "token_embd.weight", "encoder.final_layer_norm.weight": "enc.output_norm.weight"}
    for key in file:
        found = re.fullmatch(r"enc\.blk\.(\d+)\.(\w+)\.weight", key)
        if found and found[2] in LLAMA_CPP:
            names[f"encoder.block.{found[1]}.{LLAMA_CPP[found[2]]}.weight"] = key
    if "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" not in names:
        names = {name.replace(".wi_1.", ".wi."): key for name, key in names.items()}
    return {name: key for name, key in names.items() if key in file}


def sizes_of(header: Header) -> T5Sizes:
    """Sizes from shapes. Raises KeyError for a missing weight."""
    vocabulary, width = header[TABLES[0]].shape
    bias = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
    heads, inner = header[bias.format(0)].shape[1], header[MARK].shape[0]
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in header
    return T5Sizes(
        width=width,
        layers=count(header, "encoder.block"),
        heads=heads,
        head_width=inner // heads,
        mlp=header[f"encoder.block.0.layer.1.DenseReluDense.{'wi_0' if gated else 'wi'}.weight"].shape[0],
        vocabulary=vocabulary,
        gated=gated,
        own_bias=bias.format(1) in header,
    )


def check(sizes: T5Sizes, header: Mapping[str, object]) -> None:
    """Every weight the net asks for is there in its shape. Raises KeyError for a missing one, ValueError for a wrong shape."""
    with torch.device("meta"):
        net = T5Text(sizes)
    for name, parameter in net.named_parameters():
        shape = tuple(getattr(header[name], "shape", ()))
        if shape != tuple(parameter.shape):
            raise ValueError(f"{name} has the shape {list(shape)}, expected {list(parameter.shape)}")
