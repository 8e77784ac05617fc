"""The language models that are known, by what their headers show and what they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.encoders import vocabularies
from backend.encoders.lm.sizes import DeltaSizes, LmSizes, Rope
from backend.encoders.vocabularies import Kind


@dataclass(frozen=True)
class Make:
    """A line of language models. `trained` are those fields of its sizes that shapes do not show."""

    name: str
    branches: Mapping[int, str]
    """Width -> key of its tokens, the names that packs know; the first one is for other widths."""
    vocabulary: Kind
    matches: Callable[[Shown], bool]
    head: int = 128
    """Channels of a head, where no norm of queries shows them."""
    heads: Mapping[int, int] = field(default_factory=dict)
    """The same for nets of a width that have others."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    start: tuple[int, ...] = ()
    """Tokens that every text begins with."""
    pad: int = 0
    ends: tuple[int, ...] = ()
    """Tokens that end what it writes."""
    chat: str = "{}"
    """How a question is put to it; `{}` is the question, `{system}` a leading instruction."""
    system: str = ""
    """What such an instruction looks like; `{}` is its text."""
    thought: str = ""
    """The end of `chat` that tells it to answer without thinking first."""
    thinking: str = ""
    """What stands there instead where it is to think."""
    image: str = ""
    """What stands for a picture in its texts."""

    def branch(self, width: int) -> str:
        return self.branches.get(width, next(iter(self.branches.values())))


@dataclass(frozen=True)
class Shown:
    """What a header shows of a language model."""

    width: int
    layers: int
    queries: int
    """Channels of all heads together."""
    keys: int
    mlp: int
    vocabulary: int
    bias: bool
    normed: int | None
    """Channels of a head, where queries are normed."""
    sandwich: bool
    vision: str
    """"qwen2" or "qwen3" for their vision towers, "" for none."""
    gated: bool = False
    delta: DeltaSizes | None = None
    """Of layers that remember in a matrix."""
    every: int = 1
    """Which layer is the first that remembers all tokens, from 1."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What a configuration beside the file says of the text part."""
    architecture: str = ""
    """The name that it or a GGUF file has for the architecture."""


def _chatml(after: str = "") -> dict[str, Any]:
    chat = "{system}<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n" + after
    return {
        "thought": after,
        "ends": (151645, 151643),
        "pad": 151643,
        "chat": chat,
        "system": "<|im_start|>system\n{}<|im_end|>\n",
        "image": "<|vision_start|><|image_pad|><|vision_end|>",
    }


def _plain(shown: Shown) -> bool:
    return not shown.bias and shown.normed is None and not shown.sandwich


def _llama(shown: Shown) -> bool:
    """Llama 3.1; those of 3.2, which are 2048 and 3072 wide, turn by other angles and are not known."""
    if not _plain(shown) or "tral" in shown.architecture.lower():
        return False
    return "llama" in shown.architecture.lower() or (shown.vocabulary == 128256 and shown.width not in (2048, 3072))


def _mistral(shown: Shown) -> bool:
    return _plain(shown) and ("tral" in shown.architecture.lower() or shown.vocabulary == 131072)


def _small(shown: Shown) -> bool:
    return (
        shown.mlp == 32768
        if not shown.config
        else "yarn" not in str(shown.config.get("rope_parameters") or shown.config.get("rope_scaling"))
    )


GEMMA: dict[str, Any] = {"gelu": True, "offset": True, "sandwich": True, "query": 256.0}
GEMMA_CHAT: dict[str, Any] = {
    "start": (2,), "pad": 0, "ends": (1, 106, 107), "head": 256, "vocabulary": vocabularies.GEMMA,
    "chat": "<start_of_turn>user\n{system}{}<end_of_turn>\n<start_of_turn>model\n", "system": "{}\n\n",
}  # fmt: skip

MAKES: tuple[Make, ...] = (
    Make(
        "Qwen 3.5",
        {4096: "qwen35_9b", 1024: "qwen35_08b", 2048: "qwen35_2b", 2560: "qwen35_4b", 5120: "qwen35_27b"},
        vocabularies.QWEN3_5,
        lambda s: s.delta is not None and s.gated and s.normed is not None,
        trained={"rope": Rope(1e7), "qk_norm": True, "offset": True, "sections": (11, 11, 10), "interleaved": True},
        **{**_chatml(after="<think>\n\n</think>\n\n"), "ends": (248046, 248044), "pad": 248044, "thinking": "<think>\n"},
    ),
    Make(
        "Qwen 2.5 VL",
        {3584: "qwen25_7b", 2048: "qwen25_3b"},
        vocabularies.QWEN,
        lambda s: s.bias and s.vision == "qwen2",
        trained={"rope": Rope(1e6), "bias": True, "sections": (16, 24, 24)},
        **_chatml(),
    ),
    Make(
        "Qwen 2.5",
        {3584: "qwen25_7b", 2048: "qwen25_3b"},
        vocabularies.QWEN,
        lambda s: s.bias and s.vision == "",
        heads={896: 64},
        trained={"rope": Rope(1e6), "bias": True, "sections": (16, 24, 24)},
        **_chatml(),
    ),
    Make(
        "Qwen 3 VL",
        {2560: "qwen3vl_4b", 4096: "qwen3vl_8b", 2048: "qwen3vl_2b", 5120: "qwen3vl_32b"},
        vocabularies.QWEN,
        lambda s: s.normed is not None and not s.sandwich and s.vision == "qwen3",
        trained={"rope": Rope(5e6), "qk_norm": True, "sections": (24, 20, 20), "interleaved": True},
        **_chatml(),
    ),
    Make(
        "Qwen 3",
        {2560: "qwen3_4b", 1024: "qwen3_06b", 2048: "qwen3_2b", 4096: "qwen3_8b"},
        vocabularies.QWEN,
        lambda s: s.normed is not None and not s.sandwich and s.vision == "",
        trained={"rope": Rope(1e6), "qk_norm": True},
        **_chatml(after="<think>\n\n</think>\n\n"),
    ),
    Make(
        "Gemma 2",
        {2304: "gemma2_2b"},
        matches=lambda s: s.sandwich and s.normed is None,
        trained={**GEMMA, "cap": 50.0, "last_cap": 30.0, "window": 4096, "near": 2},
        **GEMMA_CHAT,
    ),
    Make(
        "Gemma 3",
        {2560: "gemma3_4b", 3840: "gemma3_12b"},
        matches=lambda s: s.sandwich and s.normed is not None,
        trained={**GEMMA, "qk_norm": True, "window": 1024, "near": 6, "rope": Rope(1e6, linear=8.0), "near_rope": Rope(1e4)},
        **GEMMA_CHAT,
    ),
    Make(
        "Llama 3.1",
        {4096: "llama"},
        vocabularies.LLAMA3,
        _llama,
        trained={"eps": 1e-5, "rope": Rope(5e5, llama=(8.0, 1.0, 4.0, 8192.0))},
        start=(128000,),
        pad=128009,
        ends=(128001, 128008, 128009),
        chat="{system}<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        system="<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
    ),
    Make(
        "Mistral Small 3",
        {5120: "mistral3_24b"},
        vocabularies.MISTRAL,
        lambda s: _mistral(s) and _small(s),
        trained={"eps": 1e-5, "rope": Rope(1e9)},
        start=(1,),
        pad=11,
        ends=(2,),
        chat="{system}[INST]{}[/INST]",
        system="[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]",
    ),
    Make(
        "Ministral 3",
        {3072: "ministral3_3b"},
        vocabularies.MISTRAL,
        lambda s: _mistral(s) and not _small(s),
        trained={"eps": 1e-5, "rope": Rope(1e6, yarn=(16.0, 32.0, 1.0, 16384.0)), "by_length": (0.1, 16384.0)},
        start=(1,),
        pad=11,
        ends=(2,),
        chat="{system}[INST]{}[/INST]",
        system="[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]",
    ),
)


def make_of(shown: Shown) -> Make | None:
    """The first one that fits."""
    return next((make for make in MAKES if make.matches(shown)), None)


def sizes_of(make: Make, shown: Shown) -> LmSizes:
    """Sizes from the header, what the make was trained with, and what a configuration says otherwise. Raises ValueError."""
    said = shown.config
    head = shown.normed or _whole(said.get("head_dim")) or _divided(said) or make.heads.get(shown.width, make.head)
    if shown.queries % head or shown.keys % head:
        raise ValueError(f"{shown.queries} and {shown.keys} channels of attention are no whole heads of {head}")
    sizes = LmSizes(
        width=shown.width,
        layers=shown.layers,
        heads=shown.queries // head,
        kv_heads=max(1, shown.keys // head),
        head=head,
        mlp=shown.mlp,
        vocabulary=shown.vocabulary,
        gated=shown.gated,
        delta=shown.delta,
        every=shown.every,
        turning=head // 4 if shown.gated else None,
        **make.trained,
    )
    channels = sizes.turning or head
    if sizes.sections and 2 * sum(sizes.sections) != channels:  # a smaller head turns by the same shares
        sizes = replace(sizes, sections=_shares(sizes.sections, channels // 2))
    return _configured(sizes, said)


def _configured(sizes: LmSizes, said: Mapping[str, Any]) -> LmSizes:
    """With the numbers of a configuration in place of the usual ones."""
    numbers = {"rms_norm_eps": "eps", "query_pre_attn_scalar": "query", "sliding_window": "window"}
    changed = {ours: said[theirs] for theirs, ours in numbers.items() if isinstance(said.get(theirs), int | float)}
    if not sizes.near:
        changed.pop("window", None)
    rope = _rope_said(said)
    theta = rope.get("rope_theta", said.get("rope_theta"))
    if isinstance(theta, int | float):
        changed["rope"] = replace(sizes.rope, theta=float(theta))
    if sizes.near and rope:  # long Gemma 3 models divide the angles of far places
        factor = rope.get("factor")
        changed["rope"] = replace(changed.get("rope", sizes.rope), linear=float(factor) if isinstance(factor, int | float) else 1.0)
    sections = rope.get("mrope_section")
    if sizes.sections and isinstance(sections, list) and len(sections) == 3:
        changed["sections"] = tuple(int(n) for n in sections)
    return replace(sizes, **changed)


def _rope_said(said: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("rope_parameters", "rope_scaling"):
        value = said.get(key)
        if isinstance(value, Mapping):
            full = value.get("full_attention")
            return full if isinstance(full, Mapping) else value
    return {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _divided(said: Mapping[str, Any]) -> int | None:
    width, heads = _whole(said.get("hidden_size")), _whole(said.get("num_attention_heads"))
    return width // heads if width and heads else None


def _shares(sections: tuple[int, ...], angles: int) -> tuple[int, ...]:
    parts = [n * angles // sum(sections) for n in sections[1:]]
    return (angles - sum(parts), *parts)
