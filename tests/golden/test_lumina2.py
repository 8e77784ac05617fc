"""Lumina 2 against diffusers: one call of the net, both spellings, adapters' names, whole latents with Gemma 2's encodings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers import Lumina2Transformer2DModel
from tokenizers import Tokenizer, models, normalizers, processors
from torch import Tensor

from backend.diffusion.sample import prepare_noise
from backend.families import shelf
from backend.families.load import load_checkpoint, load_diffusion_model
from backend.families.lumina2.net import Lumina2Sizes
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from nodes.lumina2 import clip_text_encode_lumina2
from tests.families import tiny
from tests.families.published import respelled
from tests.families.waits import unasked
from tests.golden.whole import CFG, CLOSE, SEED, SIDE, STEPS, ours, quiet

CONFIG: dict[str, Any] = {
    "hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 16,
    "cap_feat_dim": 24, "axes_dim_rope": [4, 4, 4], "axes_lens": [64, 32, 32],
}  # fmt: skip


def twin() -> Lumina2Transformer2DModel:
    torch.manual_seed(0)
    net = Lumina2Transformer2DModel(**CONFIG)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


SPELLINGS = (
    ("time_caption_embed.caption_embedder", "cap_embedder"), ("time_caption_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"),
    ("time_caption_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"), ("norm_out.linear_1", "final_layer.adaLN_modulation.1"),
    ("norm_out.linear_2", "final_layer.linear"), ("norm1.linear", "adaLN_modulation.1"), ("norm1.norm", "attention_norm1"),
    ("ffn_norm1", "ffn_first"), ("ffn_norm2", "ffn_second"), (".norm1", ".attention_norm1"), (".norm2", ".attention_norm2"),
    ("ffn_first", "ffn_norm1"), ("ffn_second", "ffn_norm2"), ("attn.", "attention."), ("to_out.0", "out"), ("norm_q", "q_norm"),
    ("norm_k", "k_norm"), ("feed_forward.linear_", "feed_forward.w"),
)  # fmt: skip


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights as the single files have them, which keep a norm nobody uses."""
    return {"norm_final.weight": torch.ones(48), **respelled(state, SPELLINGS)}


@pytest.mark.parametrize("spelling", ["single", "diffusers"])
@torch.no_grad()
def test_one_call(spelling: str, tmp_path: Path) -> None:
    reference = twin()
    state = reference.state_dict()
    save_safetensors(tmp_path / "m.safetensors", published(state) if spelling == "single" else state)
    model = load_diffusion_model(tmp_path / "m.safetensors", tiny.services(tmp_path))
    assert model.family.name == "Lumina 2" and model.sizes == Lumina2Sizes(16, 48, 4, 2, 192, 2, 1, 24, 48)
    x, sigma = torch.randn(2, 16, 6, 10), torch.tensor([0.7, 0.3])
    text = torch.randn(2, 9, 24)
    want = reference(x, 1 - sigma, text, torch.ones(2, 9, dtype=torch.bool), return_dict=False)[0]
    told = model.family.inputs([{"cross_attn": text}], model.sizes, x.shape)
    with Pool("cpu").lease(model.leasable()) as net, unasked(x, sigma, told):
        got = model.family.forward(net, x, sigma, told)
    assert (got + want).abs().max() < 1e-5 * want.abs().max()


def test_one_family_knows_it() -> None:
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in published(twin().state_dict()).items()}
    assert [family.name for family in shelf() if family.signature.matches(header)] == ["Lumina 2"]


def test_both_spellings_of_every_weight(tmp_path: Path) -> None:
    """Those that adapters name."""
    state = twin().state_dict()
    save_safetensors(tmp_path / "m.safetensors", state)
    model = load_diffusion_model(tmp_path / "m.safetensors", tiny.services(tmp_path))
    named = [
        origin if isinstance(origin, str) else piece.key
        for origin in model.spellings().values()
        for piece in ([origin] if isinstance(origin, str) else origin)
    ]
    assert sorted(named) == sorted(state)


WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", *"abcdefghijklmnopqrstuvwxyz,<>▁", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ-."]


def folder(path: Path) -> Any:
    """A tiny model in diffusers' layout, and its pipeline."""
    words = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(WORDS)}, merges=[], unk_token="<unk>"))
    words.normalizer = normalizers.Replace(" ", "▁")
    words.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<bos>", pad_token="<pad>", unk_token="<unk>")
    torch.manual_seed(5)
    gemma = transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=len(WORDS), hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            head_dim=8, query_pre_attn_scalar=8, sliding_window=16, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    for parameter in gemma.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0)
    vae = diffusers.AutoencoderKL(
        latent_channels=16, block_out_channels=(32,), norm_num_groups=8, use_quant_conv=False, use_post_quant_conv=False
    )
    pipeline = diffusers.Lumina2Pipeline(twin(), scheduler, vae, gemma, tokenizer)
    pipeline.save_pretrained(path)
    return quiet(pipeline)


@torch.no_grad()
def test_whole_latents_of_a_folder(tmp_path: Path) -> None:
    pipeline = folder(tmp_path / "lumina")
    found = load_checkpoint(tmp_path / "lumina", tiny.services(tmp_path))
    assert found.model is not None and found.clip is not None and found.vae is not None and not found.unmatched
    start = torch.zeros(1, 16, SIDE, SIDE)
    noise = prepare_noise(start, SEED)
    told = {"system_prompt": "be good", "cfg_trunc_ratio": 1.0, "cfg_normalization": False, "max_sequence_length": 64}
    size = {"width": SIDE * 8, "height": SIDE * 8, "num_inference_steps": STEPS, "output_type": "latent"}
    want = pipeline("a red cat", negative_prompt="blurry", latents=noise, guidance_scale=CFG, **told, **size).images
    pool = Pool("cpu")
    positive = found.clip.conditioning("be good <Prompt Start> a red cat", pool)
    encoded, there = pipeline._get_gemma_prompt_embeds("be good <Prompt Start> a red cat", max_sequence_length=64)
    assert (positive[0][0] - encoded[there.bool()]).abs().max() < 1e-5
    got = ours(found.model, positive, found.clip.conditioning("blurry", pool), noise)
    assert (got - want).abs().max() < CLOSE * want.abs().max()


def test_the_node(tmp_path: Path) -> None:
    """It tells the model its instruction, a mark, and the prompt."""
    told: list[str] = []
    clip = SimpleNamespace(conditioning=lambda text, pool: told.append(text))
    clip_text_encode_lumina2(
        SimpleNamespace(services=SimpleNamespace(pool=None)), system_prompt="alignment", user_prompt="a cat", clip=clip
    )
    assert told[0].startswith("You are an assistant designed to generate high-quality") and told[0].endswith(
        "prompts. <Prompt Start> a cat"
    )
