"""Tiny CLIP and T5 encoders and their words, as pipelines of other libraries want them."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from backend.encoders import vocabularies
from backend.encoders.clip.vocabulary import END, END_TEXT, SIZE, START, START_TEXT, byte_pairs


def clip_words(pad: str = END_TEXT) -> PreTrainedTokenizerFast:
    """CLIP's vocabulary as transformers has it."""
    words = Tokenizer.from_str(byte_pairs().to_str())
    words.post_processor = TemplateProcessing(single=f"{START_TEXT} $A {END_TEXT}", special_tokens=[(START_TEXT, START), (END_TEXT, END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=START_TEXT, eos_token=END_TEXT, pad_token=pad, unk_token=END_TEXT, model_max_length=77
    )


def clip(width: int = 32, quick: bool = True, **config: Any) -> CLIPTextModelWithProjection:
    """CLIP-L where `quick`, whose projection changes nothing, else OpenCLIP-bigG."""
    torch.manual_seed(width)
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": max(1, width // 64),
    }
    act = "quick_gelu" if quick else "gelu"
    net = CLIPTextModelWithProjection(
        CLIPTextConfig(**sizes | config, vocab_size=SIZE, projection_dim=width, hidden_act=act, bos_token_id=START, eos_token_id=END)
    ).eval()
    if quick:
        nn.init.eye_(net.text_projection.weight)
    return net


def t5_words() -> PreTrainedTokenizerFast:
    words = Tokenizer.from_str(vocabularies.vocabulary(vocabularies.T5, rows=T5_SIZE).tokenizer().to_str())
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=512)


T5_SIZE = 32128


def t5(width: int = 96, seed: int = 3) -> T5EncoderModel:
    torch.manual_seed(seed)
    config = T5Config(
        d_model=width, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=T5_SIZE, feed_forward_proj="gated-gelu", dropout_rate=0.0
    )
    return T5EncoderModel(config).eval()
