"""A text encoder of several parts as packs take it apart."""

from __future__ import annotations

import importlib

import torch

from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.tokenizer import ClipTokenizer
from backend.encoders.joint import JointText
from backend.memory.pool import Loadable
from backend.nn.layers import init_weights
from backend.packs.facade import dress, undress
from tests.packs.home import Home


def part(branch: str, width: int) -> ClipHandle:
    sizes = ClipSizes(width, 2, 1, 32, 49408, 77, width if branch == "g" else None, branch == "l", 49407)
    torch.manual_seed(width)
    net = ClipText(sizes)
    init_weights(net)
    source = {name: weight.data for name, weight in net.state_dict().items()}
    loadable = Loadable(f"{branch}#clip", lambda: ClipText(sizes), source, dtype=torch.float32)
    return ClipHandle(loadable, sizes, ClipTokenizer(0 if branch == "g" else 49407), branch)


@torch.inference_mode()
def test_two_clips_as_one(home: Home) -> None:
    home.start()
    clip = dress(JointText((part("l", 16), part("g", 24))))
    tokens = clip.tokenize("a cat")
    cond, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
    assert cond.shape == (1, 77, 40) and pooled.shape == (1, 24)
    for branch, width in (("l", 16), ("g", 24)):
        words, encoder = getattr(clip.tokenizer, f"clip_{branch}"), getattr(clip.cond_stage_model, f"clip_{branch}")
        assert words.embedding_size == width and words.embedding_key == f"clip_{branch}" and words.tokenizer("a cat")["input_ids"][1] == 320
        assert encoder.transformer.get_input_embeddings().weight.shape == (49408, width)
        alone, _ = encoder.encode_token_weights(tokens[branch])
        assert alone.shape == (1, 77, width) and torch.allclose(alone, cond[..., :16] if branch == "l" else cond[..., 16:], atol=1e-5)
    assert clip.patcher.model_dtype() == torch.float32 and clip.patcher.model_size() > 0 and not hasattr(clip.cond_stage_model, "clip_h")

    key = "text_model.final_layer_norm.bias"
    patched = clip.clone()
    patches = {f"clip_g.transformer.{key}": (torch.ones(24),), f"clip_x.transformer.{key}": (torch.ones(24),)}
    assert patched.add_patches(patches) == [f"clip_g.transformer.{key}"]
    changed, _ = patched.encode_from_tokens(tokens, return_pooled=True)
    assert torch.equal(changed[..., :16], cond[..., :16]) and not torch.allclose(changed[..., 16:], cond[..., 16:])
    assert isinstance(undress(patched), JointText)
    keys = importlib.import_module("comfy.lora").model_lora_keys_clip(clip.cond_stage_model, {})
    assert "lora_te2_text_model_encoder_layers_0_self_attn_q_proj" in keys
