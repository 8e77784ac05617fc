"""Tiny language models with the vocabulary that ships, for pipelines of other libraries."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model, Qwen3VLConfig, Qwen3VLModel

from backend.encoders import vocabularies

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 151936
TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 16, "num_hidden_layers": 3, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip
SIGHT = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 24, "deepstack_visual_indexes": [0]}


def qwen_words() -> PreTrainedTokenizerFast:
    """Qwen's vocabulary as transformers has it."""
    tokenizer = vocabularies.vocabulary(vocabularies.QWEN, rows=VOCABULARY).tokenizer()
    words = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    words.chat_template = CHAT
    words.model_input_names = ["input_ids", "attention_mask"]
    return words


def qwen3(**config: Any) -> Qwen3Model:
    torch.manual_seed(5)
    return Qwen3Model(Qwen3Config(**{**TINY, **config})).eval()


def qwen3_vl(**config: Any) -> Qwen3VLModel:
    torch.manual_seed(5)
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {**TINY, "num_hidden_layers": 36, "rope_parameters": rope, **config}
    return Qwen3VLModel(Qwen3VLConfig(text_config=text, vision_config=SIGHT)).eval()
