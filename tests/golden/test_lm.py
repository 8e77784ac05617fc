"""Language models against transformers: tiny random nets of every make, loaded from the published names; hidden states of all layers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from backend.encoders.lm import spec
from backend.encoders.lm.delta import delta_rule
from backend.encoders.lm.generate import Choosing, chosen, generate
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading, stacked
from backend.encoders.lm.vision.pictures import QWEN2, patches
from backend.encoders.text import Found
from backend.memory.pool import Pool
from backend.weights.held import Held

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
TINY: dict[str, Any] = {
    "vocab_size": 120, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "attn_implementation": "eager", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def of_length(trained_on: int) -> dict[str, Any]:
    return {"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": trained_on, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}  # fmt: skip


LLAMA = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 8192}  # fmt: skip
GEMMA3 = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
          "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}}  # fmt: skip

MAKES = {
    "Qwen 2.5": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "Qwen 3": ("Qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "Gemma 2": ("Gemma2", {"sliding_window": 4, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 50.0}),
    "Gemma 3": ("Gemma3Text", {"sliding_window": 4, "query_pre_attn_scalar": 24, "num_hidden_layers": 7, "rope_parameters": GEMMA3}),
    "Llama 3.1": ("Llama", {"rope_parameters": LLAMA, "rms_norm_eps": 1e-5}),
    "Mistral Small 3": ("Mistral", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e9}, "rms_norm_eps": 1e-5}),
    "Qwen 3.5": (
        "Qwen3_5Text",
        {
            "num_hidden_layers": 4,
            "head_dim": 32,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 12,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e7,
                "partial_rotary_factor": 0.25,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
    ),
    "Ministral 3": ("Ministral3", {"rope_parameters": of_length(16384)}),
}


class Words:
    """Stands for a vocabulary: tokens are the ordinals of the letters."""

    def tokenizer(self) -> Words:
        return self

    def encode(self, text: str, add_special_tokens: bool = True) -> Words:
        self.ids = [ord(letter) - 64 for letter in text]
        return self


def theirs(name: str, extra: dict[str, Any], causal: bool = False) -> Any:
    torch.manual_seed(3)
    config = getattr(transformers, f"{name}Config")(**{**TINY, **extra})
    kind = name.removesuffix("Text") + "ForCausalLM" if causal else f"{name}Model"
    net = getattr(transformers, kind)(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def ours(net: Any, monkeypatch: pytest.MonkeyPatch, prefix: str = "model.", **config: Any) -> LmHandle:
    monkeypatch.setattr(spec, "vocabulary", lambda *args: Words())
    tied = getattr(net.config, "tie_word_embeddings", False)
    state = {prefix + key: value for key, value in net.state_dict().items() if key != "lm_head.weight" or not tied}
    (handle,) = spec.text_encoders(Found(Held(state), "lm", torch.float32, config={**net.config.to_dict(), **config}))
    return handle


def run(handle: LmHandle, ids: list[int], layers: tuple[int, ...]) -> list[torch.Tensor]:
    read = handle.read_as(Reading(layers=layers))
    return read._run(read.read(ids, Pool("cpu")), Pool("cpu"))


@pytest.mark.parametrize("make", MAKES)
def test_hidden_states(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, extra = MAKES[make]
    net = theirs(name, extra)
    handle = ours(net, monkeypatch, architectures=[f"{name}Model"])
    assert handle.title == make
    ids = [5, 17, 99, 3, 44, 8, 71, 30, 2, 64, 11]
    with torch.no_grad():
        want = net(torch.tensor([ids]), output_hidden_states=True).hidden_states
    got = run(handle, ids, tuple(range(len(want))))
    for layer, (a, b) in enumerate(zip(got, want, strict=True)):
        assert (a - b).abs().max() < 1e-5 * max(1, b.abs().max().item()), layer


def test_padding_is_seen_by_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    net = theirs(*MAKES["Qwen 3"])
    handle = ours(net, monkeypatch)
    ids = [5, 17, 99]
    (plain,) = run(handle, ids, (-1,))
    tokens = {handle.branch: [[(i, 1.0) for i in ids]]}
    for left in (False, True):
        padded = handle.read_as(Reading(least=7, pad=0, pad_left=left, mask=True)).encoded(tokens, Pool("cpu"))
        there = torch.tensor([[0, 0, 0, 0, 1, 1, 1] if left else [1, 1, 1, 0, 0, 0, 0]])
        assert torch.equal(padded.extra["attention_mask"], there)
        with torch.no_grad():
            ids_there = [0] * 4 + ids if left else ids + [0] * 4
            want = net(torch.tensor([ids_there]), attention_mask=there).last_hidden_state
        assert (padded.cond - want)[there.bool()].abs().max() < 1e-5
        if not left:
            assert (padded.cond[:, :3] - plain).abs().max() < 1e-5


LLAMA_CPP = {
    "embed_tokens": "token_embd", "norm": "output_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip


def of_llama_cpp(net: Any, gemma: bool) -> dict[str, torch.Tensor]:
    """Its state as llama.cpp keeps it: Gemma's norms whole, Llama's channels of queries and keys in pairs."""
    state = {}
    for key, value in net.state_dict().items():
        part, _, kind = key.removeprefix("model.").rpartition(".")
        found = re.fullmatch(r"layers\.(\d+)\.(.+)", part)
        name = LLAMA_CPP[found[2] if found else part]
        if not gemma and name == "post_attention_norm":
            name = "ffn_norm"
        if gemma and value.ndim == 1:
            value = value + 1
        if not gemma and name in ("attn_q", "attn_k"):
            value = value.unflatten(0, (-1, 2, 8)).transpose(1, 2).flatten(0, 2)
        state[f"blk.{found[1]}.{name}.{kind}" if found else f"{name}.{kind}"] = value
    return state


@pytest.mark.parametrize("make", ["Gemma 2", "Mistral Small 3"])
def test_names_of_llama_cpp(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "vocabulary", lambda *args: Words())
    net = theirs(*MAKES[make])
    state = of_llama_cpp(net, make == "Gemma 2")
    (handle,) = spec.text_encoders(
        Found(Held(state), "lm", torch.float32, config={**net.config.to_dict(), "architectures": [MAKES[make][0]]})
    )
    ids = [5, 17, 99, 3, 44, 8, 71]
    with torch.no_grad():
        want = net(torch.tensor([ids])).last_hidden_state
    (got,) = run(handle, ids, (-1,))
    assert (got - want).abs().max() < 1e-5


VISION = {
    "Qwen 2.5 VL": {"depth": 3, "hidden_size": 64, "intermediate_size": 40, "num_heads": 4, "patch_size": 14, "out_hidden_size": 48,
                    "fullatt_block_indexes": [1], "window_size": 56},
    "Qwen 3 VL": {"depth": 3, "hidden_size": 64, "intermediate_size": 40, "num_heads": 4, "patch_size": 16, "out_hidden_size": 48,
                  "deepstack_visual_indexes": [0, 2], "num_position_embeddings": 36},
    "Qwen 3.5": {"depth": 2, "hidden_size": 64, "intermediate_size": 40, "num_heads": 4, "patch_size": 16, "out_hidden_size": 48,
                 "num_position_embeddings": 36},
}  # fmt: skip
SECTIONS = {"Qwen 2.5 VL": [2, 3, 3], "Qwen 3 VL": [4, 2, 2], "Qwen 3.5": [2, 1, 1]}
TEXT, PICTURE, VIDEO, BEGIN = [5, 17, 99], 100, 101, 102


@pytest.mark.parametrize("make", VISION)
@torch.no_grad()
def test_seeing(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and hidden states of models that see; 5 x 7 tokens are windows of all shapes."""
    name = make.replace("Qwen 2.5 VL", "Qwen2_5_VL").replace("Qwen 3 VL", "Qwen3VL").replace("Qwen 3.5", "Qwen3_5")
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": SECTIONS[make]}
    text = {k: v for k, v in TINY.items() if k != "attn_implementation" and (k != "head_dim" or name != "Qwen2_5_VL")}
    width = {"hidden_size": 64} if name == "Qwen2_5_VL" else {}
    if name == "Qwen3_5":
        text, rope = {**text, **MAKES[make][1]}, MAKES[make][1]["rope_parameters"]
    torch.manual_seed(3)
    vision = {**VISION[make], "out_hidden_size": width.get("hidden_size", 48)}
    config = getattr(transformers, f"{name}Config")(
        text_config={**text, **width, "rope_parameters": rope, "rope_scaling": rope}, vision_config=vision, image_token_id=PICTURE,
        video_token_id=VIDEO, vision_start_token_id=BEGIN, attn_implementation="eager",
    )  # fmt: skip
    net = getattr(transformers, f"{name}Model")(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    handle = ours(net, monkeypatch)
    assert handle.title == make and handle.vision is not None
    step = handle.vision.look.patch * 2
    handle = replace(handle, vision=replace(handle.vision, look=replace(handle.vision.look, least=1)))
    image = torch.rand(5 * step, 7 * step, 3)
    x, rows, columns = patches(image, handle.vision.look)
    size = torch.tensor([[1, rows, columns]])
    seen = handle.vision.see(image, Pool("cpu"))
    want = net.visual(x, grid_thw=size)
    assert (seen.tokens - want.pooler_output).abs().max() < 1e-5 * want.pooler_output.abs().max()
    ids = [*TEXT, BEGIN, *[PICTURE] * 35, 4, 7, 9]
    told = {"input_ids": torch.tensor([ids]), "pixel_values": x, "image_grid_thw": size, "attention_mask": torch.ones(1, len(ids)),
            "mm_token_type_ids": torch.tensor([[int(i == PICTURE) for i in ids]])}  # fmt: skip
    whole = net(**told, output_hidden_states=True).hidden_states
    entries = [*TEXT, BEGIN, {"type": "image", "data": image}, 4, 7, 9]
    got = handle.read_as(Reading(layers=(1, 2, 3), mix=stacked)).encoded({handle.branch: [[(e, 1.0) for e in entries]]}, Pool("cpu")).cond
    for layer in (1, 2, 3):
        assert (got[:, layer - 1] - whole[layer]).abs().max() < 1e-5 * max(1, whole[layer].abs().max().item()), layer


@torch.no_grad()
def test_pictures_as_the_processor_cuts_them() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = (torch.rand(70, 61, 3) * 255).to(torch.uint8)
    processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 16384)
    want = processor(images=[image.numpy()], return_tensors="pt")
    got, rows, columns = patches(image / 255, QWEN2)
    assert want["image_grid_thw"].tolist() == [[1, rows, columns]]
    assert (got - want["pixel_values"]).abs().mean() < 0.01  # theirs rounds to bytes between


@pytest.mark.parametrize("make", ["Qwen 3", "Gemma 3", "Gemma 2", "Qwen 3.5"])
@torch.no_grad()
def test_writing_the_likeliest(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token with kept keys and values; heads of their own and tied ones; windows shorter than the text."""
    name, extra = MAKES[make]
    net = theirs(name, {**extra, "tie_word_embeddings": not make.startswith("Qwen")}, causal=True)
    handle = ours(net, monkeypatch, prefix="")
    assert (handle.head is not None) == make.startswith("Qwen")
    ids = [5, 17, 99, 3, 44]
    want = net.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 5:].tolist()
    counts: list[int] = []
    assert generate(replace(handle, make=replace(handle.make, ends=())), ids, 12, Choosing(), Pool("cpu"), counts.append) == want
    assert counts == list(range(1, 13))
    stop = replace(handle, make=replace(handle.make, ends=(want[4],)))
    assert generate(stop, ids, 12, Choosing(), Pool("cpu")) == want[: want.index(want[4])]


@torch.no_grad()
def test_choosing() -> None:
    """What is left to choose from, against the reference's filters: shares of many throws."""
    from transformers import generation as g

    torch.manual_seed(0)
    scores, before = torch.randn(40) * 2, [3, 7, 7, 11]
    filters = [
        g.RepetitionPenaltyLogitsProcessor(1.3), g.TemperatureLogitsWarper(0.8), g.TopKLogitsWarper(12), g.TopPLogitsWarper(0.9),
        g.MinPLogitsWarper(0.1),
    ]  # fmt: skip
    want = scores[None]
    for part in filters:
        want = part(torch.tensor([before]), want)
    possible = set(want[0].softmax(-1).nonzero().flatten().tolist())
    how = Choosing(0.8, 12, 0.9, 0.1, 1.3)
    dice = torch.Generator().manual_seed(1)
    thrown = [chosen(scores, before, [], how, dice) for _ in range(600)]
    assert set(thrown) <= possible and len(set(thrown)) > len(possible) // 2
    likeliest = int(want[0].argmax())
    assert abs(thrown.count(likeliest) / 600 - want[0].softmax(-1)[likeliest]) < 0.08
    assert chosen(scores, before, [int(scores.argmax())], Choosing(presence=100.0), dice) != int(scores.argmax())
    assert chosen(scores, [], [], Choosing(), dice) == int(scores.argmax())


def test_remembering_in_stretches() -> None:
    """Long texts, in one go and from where a first part ended, against the rule token by token."""
    torch.manual_seed(0)
    q, k = (torch.nn.functional.normalize(torch.randn(1, 2, 150, 8), dim=-1) for _ in range(2))
    v, decay, rate = torch.randn(1, 2, 150, 6), -torch.rand(1, 2, 150), torch.rand(1, 2, 150)
    state, read = torch.zeros(1, 2, 8, 6), []
    for t in range(150):
        state = state * decay[:, :, t, None, None].exp()
        missing = v[:, :, t] - (state * k[:, :, t, :, None]).sum(-2)
        state = state + k[:, :, t, :, None] * (rate[:, :, t, None] * missing).unsqueeze(-2)
        read.append((state * q[:, :, t, :, None]).sum(-2) * 8**-0.5)
    out, kept = delta_rule(q, k, v, decay, rate)
    assert (out - torch.stack(read, 2)).abs().max() < 1e-5 and (kept - state).abs().max() < 1e-5
    begun = delta_rule(q[:, :, :70], k[:, :, :70], v[:, :, :70], decay[:, :, :70], rate[:, :, :70])[1]
    gone_on, end = delta_rule(q[:, :, 70:], k[:, :, 70:], v[:, :, 70:], decay[:, :, 70:], rate[:, :, 70:], begun)
    assert (gone_on - out[:, :, 70:]).abs().max() < 1e-5 and (end - state).abs().max() < 1e-5
