"""How Flux and its relatives hear prompts, against the pipelines of diffusers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import Flux2KleinPipeline
from diffusers.pipelines.longcat_image import pipeline_longcat_image as longcat
from torch import Tensor
from transformers import Qwen2Config, Qwen2Model

from backend.base.errors import BadInput
from backend.families.load import load_text_encoders
from backend.families.longcat.texts import spelled
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.flux import clip_text_encode_flux
from tests.families import kinds, spoken, tiny
from tests.golden import test_t5
from tests.nodes.bench import Bench

PROMPT = "a sign that says 'Café' and “no dogs”, it's red"


def saved(net: Any, path: Path) -> Path:
    save_safetensors(path, {f"model.{key}": value.contiguous() for key, value in net.state_dict().items()})
    return path


def encode(path: Path, type: str, tmp_path: Path, prompt: str = PROMPT) -> Tensor:
    clip = load_text_encoders([path], tiny.services(tmp_path), type)
    cond: Tensor = clip.conditioning(prompt, Pool("cpu"))[0][0]
    return cond


@torch.no_grad()
def test_klein(tmp_path: Path) -> None:
    klein: Any = Flux2KleinPipeline
    net, words = spoken.qwen3(num_hidden_layers=28), spoken.qwen_words()
    words.chat_template = words.chat_template.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n")
    want: Tensor = klein._get_qwen3_prompt_embeds(net, words, PROMPT)
    got = encode(saved(net, tmp_path / "qwen.safetensors"), "flux2", tmp_path)
    assert got.shape == want.shape == (1, 512, 72) and (got - want).abs().max() < 1e-4


@torch.no_grad()
def test_longcat(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config: Any = {**spoken.TINY, "head_dim": 128, "hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
    twin: Any = Qwen2Model(Qwen2Config(**config))
    net, words = twin.eval(), spoken.qwen_words()
    module: Any = longcat
    pipeline = module.LongCatImagePipeline(None, None, None, words, None, None)

    def encoder(input_ids: Tensor, attention_mask: Tensor, **named: Any) -> Any:
        return SimpleNamespace(hidden_states=[net(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state])

    pipeline.text_encoder = encoder
    want: Tensor = pipeline._encode_prompt([PROMPT])
    got = encode(saved(net, tmp_path / "qwen.safetensors"), "longcat_image", tmp_path)
    assert got.shape == want.shape == (1, 512, 256) and (got - want).abs().max() < 1e-4
    for prompt in (PROMPT, "plain", "'a' \"b\"", "it's", "‘x’y"):
        pieces = [piece for part, quoted in module.split_quotation(prompt) for piece in (part if quoted else [part])]
        assert list(spelled(prompt)) == pieces


def test_flux(tmp_path: Path) -> None:
    """T5's tokens, at least 256, and CLIP-L's pooled vector; and which files make the pair."""
    folder = tmp_path / "clip"
    kinds.text(64).save_pretrained(folder)
    t5 = test_t5.save(test_t5.make("t5xxl").state_dict(), tmp_path / "t5.safetensors")
    services, pool = tiny.services(tmp_path), Pool("cpu")
    clip = load_text_encoders([t5, folder], services, "flux")
    assert clip.branches == ("l", "t5xxl")
    tokens = clip.tokenize("a red cat")
    assert len(tokens["t5xxl"][0]) == 256 and len(tokens["l"][0]) == 77
    encoded = clip.encoded(tokens, pool)
    alone = load_text_encoders([folder], services).encode({"l": tokens["l"]}, pool)[1]
    assert encoded.cond.shape == (1, 256, 32) and encoded.pooled is not None and alone is not None and torch.equal(encoded.pooled, alone)
    ctx = Bench(tmp_path / "home").context()
    made = clip_text_encode_flux(ctx, clip=clip, clip_l="a red cat", t5xxl="a dog", guidance=2.0)
    assert made[0][1]["guidance"] == 2.0 and torch.equal(made[0][1]["pooled_output"], alone) and not torch.equal(made[0][0], encoded.cond)
    with pytest.raises(BadInput, match="Flux reads CLIP-L and T5"):
        load_text_encoders([folder, folder], services, "flux")
    with pytest.raises(BadInput, match="this CLIP has l"):
        clip_text_encode_flux(ctx, clip=load_text_encoders([folder], services), clip_l="", t5xxl="", guidance=1.0)
    chroma = load_text_encoders([t5], services, "chroma")
    assert len(chroma.tokenize("a red cat")["t5xxl"][0]) < 10
    assert len(chroma.with_options(t5xxl_min_length=20).tokenize("a red cat")["t5xxl"][0]) == 20
