"""The vocabularies that text encoders were trained with: what their published files leave unsaid, and which of them ship."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer, normalizers

from backend.encoders.vocabularies import bytepairs

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Kind:
    """`split` and `specials` complete files that hold byte pairs only; files that say more themselves do not need them."""

    name: str
    """What people call it; part of messages."""
    slug: str
    """The same in names of files: `<slug>.tokenizer.json` in the folder of text encoders serves every file that needs this kind."""
    split: str = ""
    specials: Mapping[str, int] = field(default_factory=dict)
    shipped: Callable[[], Tokenizer] | None = None
    package: tuple[str, str] | None = None
    """(name, file) of a package that has tiktoken's form of it: read where someone installed it."""
    wanted: str = "tokenizer.json"
    """What a person is asked to put beside the weights."""


def numbered(first: int, *names: str) -> dict[str, int]:
    """Names with ids in a row."""
    return {name: first + i for i, name in enumerate(names)}


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN_SPLIT = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
LLAMA3_SPLIT = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
MISTRAL_SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

QWEN_SPECIALS = numbered(
    151643, "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
    "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
QWEN3_5_SPLIT = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}" + _REST.replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
QWEN3_5_SPECIALS = numbered(
    248044, *QWEN_SPECIALS, "<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>",
    "<|audio_pad|>",
)  # fmt: skip
LLAMA3_SPECIALS = numbered(
    128000, "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
    "<|python_tag|>", *(f"<|reserved_special_token_{i}|>" for i in range(3, 248)),
)  # fmt: skip


def _merges(name: str) -> list[str]:
    return lzma.decompress((DATA / name).read_bytes()).decode().splitlines()


def _qwen() -> Tokenizer:
    return bytepairs.from_merges(_merges("qwen.merges.txt.xz"), QWEN_SPLIT, QWEN_SPECIALS)


def _qwen3_5() -> Tokenizer:
    return bytepairs.from_merges(_merges("qwen3_5.merges.txt.xz"), QWEN3_5_SPLIT, QWEN3_5_SPECIALS)


def _t5() -> Tokenizer:
    tokenizer = Tokenizer.from_buffer(lzma.decompress((DATA / "t5.tokenizer.json.xz").read_bytes()))
    # SentencePiece drops blanks at the ends of a text, which this form of the vocabulary leaves out
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Strip()])
    return tokenizer


QWEN = Kind("Qwen", "qwen", QWEN_SPLIT, QWEN_SPECIALS, _qwen)
"""Qwen 2, 2.5, 3 and their VL models (Bai et al. 2023, arXiv:2309.16609, section 2.2)."""
QWEN3_5 = Kind("Qwen 3.5", "qwen3_5", QWEN3_5_SPLIT, QWEN3_5_SPECIALS, _qwen3_5)
T5 = Kind("T5", "t5", shipped=_t5, wanted="spiece.model")
"""T5 and T5 v1.1 (Raffel et al. 2020, arXiv:1910.10683); one hundred `<extra_id_n>` after 32,000 pieces."""
UMT5 = Kind("UMT5", "umt5", wanted="spiece.model")
LLAMA3 = Kind("Llama 3", "llama3", LLAMA3_SPLIT, LLAMA3_SPECIALS, package=("llama-models", "llama3/tokenizer.model"))
GEMMA = Kind("Gemma", "gemma", wanted="tokenizer.model")
"""Gemma 2 or Gemma 3: their vocabularies differ, and a file that has too many tokens for the weights is refused."""
MISTRAL = Kind("Mistral", "mistral", MISTRAL_SPLIT, bytepairs.MISTRAL_SPECIALS, wanted="tekken.json or tokenizer.json")
