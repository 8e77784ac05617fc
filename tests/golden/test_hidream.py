"""HiDream against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HiDreamImagePipeline, HiDreamImageTransformer2DModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, LlamaConfig, LlamaModel, T5Config, T5EncoderModel

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.latent import FLUX
from backend.diffusion.sample import prepare_noise
from backend.encoders.joint import JointText
from backend.families.hidream import FAMILY
from backend.families.hidream.net import HiDreamSizes
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from nodes.hidream import clip_text_encode_hidream
from tests.families import nets, tiny
from tests.nodes.bench import Bench

CONFIG = {
    "patch_size": 2, "in_channels": 16, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 128,
    "num_attention_heads": 2, "caption_channels": [24, 20], "text_emb_dim": 40, "axes_dims_rope": (64, 32, 32),
    "max_resolution": (8, 6), "llama_layers": [0, 1, 2, 2],
}  # fmt: skip


@pytest.mark.parametrize("experts", [4, 0])
@torch.no_grad()
def test_one_call(experts: int, tmp_path: Path) -> None:
    reference = nets.randomised(HiDreamImageTransformer2DModel(**CONFIG, num_routed_experts=experts), std=0.05)
    state = dict(reference.state_dict())
    assert nets.knowing(state) == ["HiDream"]
    model = nets.load({f"model.diffusion_model.{key}": value for key, value in state.items()}, tmp_path)
    x, sigma = torch.randn(2, 16, 8, 6), torch.tensor([0.8, 0.2])
    t5, llama, pooled = torch.randn(1, 7, 24), torch.randn(3, 1, 5, 20), torch.randn(1, 40)
    want = -reference(x, sigma * 1000, t5.expand(2, -1, -1), llama.expand(-1, 2, -1, -1), pooled.expand(2, -1), return_dict=False)[0]
    cond = {"cross_attn": t5, "conditioning_llama3": llama.transpose(0, 1), "pooled_output": pooled}
    assert nets.off(nets.call(model, x, sigma, cond), want) < nets.NEAR


def test_a_text_that_lacks_llama() -> None:
    sizes = HiDreamSizes(16, 256, 2, 1, 1, 0, 8, 0, 8, 40, 24, 20)
    told = {"cross_attn": torch.zeros(1, 4, 24), "pooled_output": torch.zeros(1, 40)}
    with pytest.raises(BadInput, match="lacks the states of Llama"):
        FAMILY.inputs([told], sizes, (1, 16, 8, 8))
    with pytest.raises(BadInput, match="24, 22 and 40 wide, but this HiDream model takes 24, 20 and 40"):
        FAMILY.inputs([told | {"conditioning_llama3": torch.zeros(1, 2, 4, 22)}], sizes, (1, 16, 8, 8))


def _folder(path: Path, net: HiDreamImageTransformer2DModel) -> tuple[list[Any], Path]:
    """Tiny encoders and the net in the layout of diffusers."""
    torch.manual_seed(1)
    clip = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 49408}
    t5 = {"vocab_size": 32128, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
    llama = {"vocab_size": 128256, "hidden_size": 20, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
             "num_key_value_heads": 1, "head_dim": 10, "rms_norm_eps": 1e-5}  # fmt: skip
    encoders = [
        CLIPTextModelWithProjection(CLIPTextConfig(**clip, projection_dim=16, hidden_act="quick_gelu", max_position_embeddings=248)),
        CLIPTextModelWithProjection(CLIPTextConfig(**clip, projection_dim=24, hidden_act="gelu")),
        T5EncoderModel(T5Config(**t5)),
        LlamaModel(LlamaConfig(**llama)),
    ]
    for number, encoder in zip(("", "_2", "_3", "_4"), encoders, strict=True):
        encoder.eval().save_pretrained(path / f"text_encoder{number}")
    words = {"a": 5, "red": 6, "cat": 7, "blurry": 8, "?": 9, "<|begin_of_text|>": 128000, "<|eot_id|>": 128009}
    tokenizer = Tokenizer(WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    (path / "tokenizer_4").mkdir()
    tokenizer.save(str(path / "tokenizer_4" / "tokenizer.json"))
    net.save_pretrained(path / "transformer")
    (path / "model_index.json").write_text("{}")
    return encoders, path


@torch.no_grad()
def _told(encoders: list[Any], clip: JointText, prompt: str) -> dict[str, torch.Tensor]:
    """What the pipeline's encoders make of our tokens, and the same tokens filled up as it fills them."""
    ids = {branch: torch.tensor([[entry[0] for entry in chunks[0]]]) for branch, chunks in clip.tokenize(prompt).items()}
    pooled = torch.cat([encoder(ids[branch]).text_embeds for encoder, branch in zip(encoders, "lg", strict=False)], dim=-1)
    t5, llama = ids["t5xxl"], ids["llama"]
    assert t5.shape == (1, 128) and llama[0, 0] == 128000
    filled = torch.nn.functional.pad(llama, (0, 128 - llama.shape[1]), value=128009)
    states = encoders[3](filled, attention_mask=(torch.arange(128) < llama.shape[1]).long()[None], output_hidden_states=True).hidden_states
    return {
        "pooled_prompt_embeds": pooled,
        "prompt_embeds_t5": encoders[2](t5, attention_mask=(t5 != 0).long())[0],
        "prompt_embeds_llama3": torch.stack(states[1:]),
    }


def test_whole_latent(tmp_path: Path) -> None:
    """From a prompt, through a folder in the layout of diffusers: four encoders, net, scheduler."""
    net = nets.randomised(HiDreamImageTransformer2DModel(**{**CONFIG, "max_resolution": (6, 8)}), std=0.03)
    encoders, folder = _folder(tmp_path / "m", net)
    found = load_checkpoint(folder, tiny.services(tmp_path))
    assert found.model is not None and isinstance(found.clip, JointText) and found.clip.branches == ("l", "g", "t5xxl", "llama")
    texts = [_told(encoders, found.clip, text) for text in ("a red cat", "blurry")]
    told = texts[0] | {f"negative_{key}": value for key, value in texts[1].items()}
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline = HiDreamImagePipeline(scheduler, None, *[None] * 8, net)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.default_sample_size = 7  # else it enlarges the picture
    noise = prepare_noise(torch.zeros(1, 16, 6, 8), 7)
    want = pipeline(**told, latents=noise, guidance_scale=3.0, num_inference_steps=3, height=48, width=64, output_type="latent").images
    positive, negative = (found.clip.conditioning(text, Pool("cpu")) for text in ("a red cat", "blurry"))
    got = nets.solved(CfgGuider(found.model, positive, negative, 3.0), noise, scheduler.sigmas)
    assert nets.apart(got, want) < 1e-4 and want.abs().max() < 20

    ctx = Bench(tmp_path / "home").context()
    apart = clip_text_encode_hidream(ctx, clip=found.clip, clip_l="a red cat", clip_g="a red cat", t5xxl="a red cat", llama="a red cat")
    assert torch.equal(apart[0][0], positive[0][0])
    with pytest.raises(BadInput, match="no g and no t5xxl and no llama"):
        clip_text_encode_hidream(ctx, clip=found.clip.parts[0], clip_l="", clip_g="", t5xxl="", llama="")


@torch.no_grad()
def test_a_picture_to_edit_lies_beside(tmp_path: Path) -> None:
    """E1: what is made is the left half of what the net sees."""
    reference = nets.randomised(HiDreamImageTransformer2DModel(**{**CONFIG, "max_resolution": (4, 8)}), std=0.05)
    model = nets.load(dict(reference.state_dict()), tmp_path)
    x, beside, sigma = torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4), torch.tensor([0.5])
    t5, llama, pooled = torch.randn(1, 7, 24), torch.randn(3, 1, 5, 20), torch.randn(1, 40)
    shown = torch.cat([x, FLUX.process_in(beside)], dim=-1)
    want = -reference(shown, sigma * 1000, t5, llama, pooled, return_dict=False)[0][..., :4]
    cond = {"cross_attn": t5, "conditioning_llama3": llama.transpose(0, 1), "pooled_output": pooled, "concat_latent_image": beside}
    assert nets.off(nets.call(model, x, sigma, cond), want) < nets.NEAR
