"""Anima against diffusers: adapter and net in one call, the prompt, whole latents from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimaTextConditioner, ClassifierFreeGuidance, FlowMatchEulerDiscreteScheduler
from diffusers.modular_pipelines import SequentialPipelineBlocks
from diffusers.modular_pipelines.anima.encoders import AnimaTextEncoderStep
from diffusers.modular_pipelines.anima.modular_blocks_anima import AnimaCoreDenoiseStep
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.sample import prepare_noise
from backend.encoders import vocabularies
from backend.families.anima.net import AdapterSizes
from backend.families.anima.texts import AnimaText
from backend.families.cosmos.names import CONDITIONER
from backend.families.load import load_checkpoint, load_text_encoder
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import nets, spoken, tiny
from tests.golden import test_cosmos

WIDTH = 24
CONDITION: dict[str, Any] = {
    "source_dim": WIDTH, "target_dim": 24, "model_dim": 20, "num_layers": 2, "num_attention_heads": 2, "target_vocab_size": 32128,
}  # fmt: skip


def adapter(std: float = 0.2) -> AnimaTextConditioner:
    return nets.randomised(AnimaTextConditioner(**CONDITION), 3, std)


def published(net: Any, condition: Any) -> dict[str, Tensor]:
    return test_cosmos.published({**net.state_dict(), **{f"{CONDITIONER}{key}": value for key, value in condition.state_dict().items()}})


def folder() -> torch.nn.Module:
    """Both as the folders of one model."""
    return torch.nn.ModuleDict({"transformer": test_cosmos.twin(), CONDITIONER.removesuffix("."): adapter()})


def from_folder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return test_cosmos.published({key.removeprefix("transformer."): value for key, value in state.items()})


@torch.no_grad()
def test_one_call(tmp_path: Path) -> None:
    net, condition = test_cosmos.twin(), adapter()
    model = nets.load(published(net, condition), tmp_path)
    assert model.family.name == "Anima" and model.sizes.adapter == AdapterSizes(WIDTH, 20, 24, 2, 2, 80, 32128)
    x, sigma = torch.randn(2, 16, 1, 6, 10), torch.tensor([0.7, 0.3])
    for length, said in ((9, 14), (140, 130), (5, 530)):
        states, words, weights = torch.randn(1, length, WIDTH), torch.randint(32000, (1, said)), torch.ones(said)
        weights[2] = 1.3
        told = condition(states, words)
        told[:, :said] *= weights[:, None]
        want = net(x, sigma, told.expand(2, -1, -1), padding_mask=test_cosmos.NO_FILLING).sample
        cond = {"cross_attn": states, "t5xxl_ids": words[0], "t5xxl_weights": weights}
        assert nets.off(nets.call(model, x, sigma, cond), want) < nets.NEAR
    for none in ({}, {"t5xxl_ids": torch.zeros(0)}):
        with pytest.raises(BadInput, match="without the words"):
            nets.call(model, x, sigma, {"cross_attn": states, **none})
    with pytest.raises(BadInput, match="3 words of T5 and weights for 2"):
        nets.call(model, x, sigma, {"cross_attn": states, "t5xxl_ids": torch.arange(3), "t5xxl_weights": torch.ones(2)})
    with pytest.raises(BadInput, match="40000 is not among the 32128 words"):
        nets.call(model, x, sigma, {"cross_attn": states, "t5xxl_ids": torch.tensor([40000])})


def t5_words() -> PreTrainedTokenizerFast:
    """T5's vocabulary as transformers has it, which ends every text."""
    inner = vocabularies.vocabulary(vocabularies.T5).tokenizer()
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    words = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")
    words.model_input_names = ["input_ids", "attention_mask"]
    return words


def test_whole_latent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a prompt, through the single file and a text encoder of its own."""
    monkeypatch.setattr("backend.families.anima.texts.BRANCHES", ("qwen3_4b",))  # a tiny one is told by its width as any other
    net, condition, text = test_cosmos.twin(std=0.1), adapter(0.1), spoken.qwen3()
    steps = {"text": AnimaTextEncoderStep(), "denoise": AnimaCoreDenoiseStep()}
    pipeline = SequentialPipelineBlocks.from_blocks_dict(steps).init_pipeline()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline.update_components(
        transformer=net, text_conditioner=condition, text_encoder=text, tokenizer=spoken.qwen_words(), t5_tokenizer=t5_words(),
        scheduler=scheduler, guider=ClassifierFreeGuidance(guidance_scale=4.0),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    noise = prepare_noise(torch.zeros(1, 16, 1, 6, 8), 7)
    told = {"prompt": "a red cat, masterpiece", "negative_prompt": "blurry", "num_inference_steps": 3, "height": 48, "width": 64}
    want = pipeline(**told, latents=noise, output="latents")
    save_safetensors(tmp_path / "text.safetensors", {f"model.{key}": value for key, value in text.state_dict().items()})
    clip = load_text_encoder(tmp_path / "text.safetensors", tiny.services(tmp_path))
    model = nets.load(published(net, condition), tmp_path)
    positive, negative = (clip.conditioning(prompt, Pool("cpu")) for prompt in ("a red cat, masterpiece", "blurry"))
    got = nets.solved(CfgGuider(model, positive, negative, 4.0), noise, scheduler.sigmas)
    assert nets.apart(got, want) < 1e-4 and want.abs().max() < 20


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's folder, where the adapter has a folder of its own."""
    monkeypatch.setattr("backend.families.anima.texts.BRANCHES", ("qwen3_4b",))
    net, condition = test_cosmos.twin(), adapter()
    for name, part in {"transformer": net, "text_conditioner": condition, "text_encoder": spoken.qwen3()}.items():
        part.save_pretrained(tmp_path / "m" / name)
    FlowMatchEulerDiscreteScheduler(shift=2.5).save_pretrained(tmp_path / "m" / "scheduler")
    (tmp_path / "m" / "modular_model_index.json").write_text("{}")
    found = load_checkpoint(tmp_path / "m", tiny.services(tmp_path))
    assert found.model is not None and found.model.family.name == "Anima" and found.unmatched == ()
    assert isinstance(found.clip, AnimaText) and float(found.model.noise.sigma(torch.tensor(0.5))) == pytest.approx(2.5 / 3.5)
    single = nets.load(published(net, condition), tmp_path)
    told = (torch.randn(1, 16, 1, 4, 4), torch.tensor([0.5]), {"cross_attn": torch.randn(1, 3, WIDTH), "t5xxl_ids": torch.arange(4)})
    assert torch.equal(nets.call(found.model, *told), nets.call(single, *told))


def test_what_is_loaded_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.families.anima.texts.BRANCHES", ("qwen3_4b",))
    save_safetensors(tmp_path / "text.safetensors", {f"model.{key}": value for key, value in spoken.qwen3().state_dict().items()})
    clip = load_text_encoder(tmp_path / "text.safetensors", tiny.services(tmp_path))
    assert isinstance(clip, AnimaText) and clip.branches == ("qwen3_4b", "t5xxl")
    plain = clip.tokenize("a red cat")
    weighted = clip.tokenize("a (red:1.3) cat")
    assert [weight for _, weight in weighted["t5xxl"][0]] == [1.0, 1.0, 1.3, 1.0, 1.0]  # "a" is two of T5
    assert [entry[0] for entry in weighted["t5xxl"][0]] == [entry[0] for entry in plain["t5xxl"][0]]
    assert {weight for _, weight in weighted["qwen3_4b"][0]} == {1.0}
    assert clip.tokenize("") == {"qwen3_4b": [[(151643, 1.0)]], "t5xxl": [[(1, 1.0)]]}
    assert [entry[2] for entry in clip.tokenize("a (cat:2)", return_word_ids=True)["t5xxl"][0]] == [1, 1, 2, 0]
    with pytest.raises(BadInput, match="These tokens are for qwen3_4b; Anima takes qwen3_4b and t5xxl"):
        clip.encoded({"qwen3_4b": plain["qwen3_4b"]}, Pool("cpu"))
    with pytest.raises(BadInput, match="cannot see pictures"):
        clip.tokenize("a cat", images=[torch.zeros(8, 8, 3)])
    assert isinstance(clip.with_layer(-2), AnimaText)
