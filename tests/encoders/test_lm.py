"""Language models as text encoders: what is known from a header alone, templates, and what is said about bad files and tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.base.errors import BadFile, BadInput
from backend.encoders.lm import spec
from backend.encoders.lm.generate import Choosing, generate
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.makes import Shown, make_of, sizes_of
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.reading import Reading, side_by_side, stacked
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.text import Found, text_encoders
from backend.memory.pool import Pool
from backend.nn.layers import RMSNorm, init_weights
from backend.weights import lora
from backend.weights.held import Held

REAL = {
    "qwen25_7b": ("Qwen 2.5 VL", 3584, 28, 28, 4, 128, 18944, 152064, "bias", "visual.patch_embed.proj.weight"),
    "qwen25_3b": ("Qwen 2.5", 2048, 36, 16, 2, 128, 11008, 151936, "bias", ""),
    "qwen25_7b ": ("Qwen 2.5", 896, 24, 14, 2, 64, 4864, 151936, "bias", ""),
    "qwen3_06b": ("Qwen 3", 1024, 28, 16, 8, 128, 3072, 151936, "norm", ""),
    "qwen3_4b": ("Qwen 3", 2560, 36, 32, 8, 128, 9728, 151936, "norm", ""),
    "qwen3_8b": ("Qwen 3", 4096, 36, 32, 8, 128, 12288, 151936, "norm", ""),
    "qwen3vl_8b": ("Qwen 3 VL", 4096, 36, 32, 8, 128, 12288, 151936, "norm", "visual.deepstack_merger_list.0.norm.weight"),
    "gemma2_2b": ("Gemma 2", 2304, 26, 8, 4, 256, 9216, 256000, "sandwich", ""),
    "gemma3_4b": ("Gemma 3", 2560, 34, 8, 4, 256, 10240, 262208, "sandwich norm", ""),
    "gemma3_12b": ("Gemma 3", 3840, 48, 16, 8, 256, 15360, 262208, "sandwich norm", ""),
    "llama": ("Llama 3.1", 4096, 32, 32, 8, 128, 14336, 128256, "", ""),
    "mistral3_24b": ("Mistral Small 3", 5120, 40, 32, 8, 128, 32768, 131072, "", ""),
    "ministral3_3b": ("Ministral 3", 3072, 26, 32, 8, 128, 9216, 131072, "", ""),
}
"""Published models: title, width, layers, heads, heads of keys, channels of a head, perceptron, vocabulary, what they have, vision."""


@pytest.mark.parametrize("branch", REAL)
@pytest.mark.parametrize("prefix", ["model.", "", "model.language_model.", "text_encoders.any.transformer.model."])
def test_known_by_its_header(branch: str, prefix: str) -> None:
    title, width, layers, heads, kv, head, mlp, rows, traits, vision = REAL[branch]
    state: dict[str, torch.Tensor] = {}

    def put(name: str, *shape: int) -> None:
        state[prefix + name] = torch.empty(shape, device="meta")

    put("embed_tokens.weight", rows, width)
    put(f"layers.{layers - 1}.input_layernorm.weight", width)
    put("layers.0.self_attn.q_proj.weight", heads * head, width)
    put("layers.0.self_attn.k_proj.weight", kv * head, width)
    put("layers.0.self_attn.o_proj.weight", width, heads * head)
    put("layers.0.mlp.gate_proj.weight", mlp, width)
    if "bias" in traits:
        put("layers.0.self_attn.q_proj.bias", heads * head)
    if "norm" in traits:
        put("layers.0.self_attn.q_norm.weight", head)
    if "sandwich" in traits:
        put("layers.0.post_feedforward_layernorm.weight", width)
    if vision:
        state[vision] = torch.empty(1, device="meta")
    (place,) = spec.places(state)
    shown = spec.shown_by({name: Held(state)[key] for name, key in place.names.items()}, spec.vision_of(Held(state)))
    make = make_of(shown)
    assert make is not None and (make.name, make.branch(width)) == (title, branch.strip())
    sizes = sizes_of(make, shown)
    assert (sizes.layers, sizes.heads, sizes.kv_heads, sizes.head) == (layers, heads, kv, head)


class Words:
    """Stands for a vocabulary: tokens are the ordinals of the letters."""

    ids: list[int]

    def tokenizer(self) -> Words:
        return self

    def encode(self, text: str, add_special_tokens: bool = True) -> Words:
        self.ids = [ord(letter) % 128 for letter in text]
        return self


SIZES = LmSizes(width=32, layers=2, heads=2, kv_heads=1, head=128, mlp=48, vocabulary=128, bias=True)


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = init_weights(LanguageModel(SIZES))
    for module in net.modules():
        if isinstance(module, RMSNorm):
            torch.nn.init.ones_(module.weight)
    return {"model." + name: value.detach() for name, value in net.state_dict().items()}


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> LmHandle:
    monkeypatch.setattr(spec, "vocabulary", lambda *args: Words())
    (found,) = text_encoders(Found(Held(state()), "lm", torch.float32))
    assert isinstance(found, LmHandle) and found.title == "Qwen 2.5"
    return found


def letters(handle: LmHandle, text: str) -> str:
    return "".join(chr(entry[0]) for entry in handle.tokenize(text)[handle.branch][0])


def test_templates(handle: LmHandle) -> None:
    told = handle.read_as(Reading(template="<|im_start|>user {}|end"))
    assert letters(told, r"a \(b\) (c:1.2)") == "<|im_start|>user a (b) (c:1.2)|end"
    assert letters(told, "<|im_start|>mine") == "<|im_start|>mine"
    assert letters(handle.read_as(Reading(most=3)), "abcdef") == "abc"


def test_what_counts(handle: LmHandle) -> None:
    tokens = handle.tokenize("abcde")
    pool = Pool("cpu")
    last = handle.encoded(tokens, pool).cond
    assert last.shape == (1, 5, 32)
    assert torch.equal(handle.read_as(Reading(drop=2)).encoded(tokens, pool).cond, last[:, 2:])
    assert torch.equal(handle.read_as(Reading(drop=lambda ids: ids.index(ord("d")))).encoded(tokens, pool).cond, last[:, 3:])
    assert handle.read_as(Reading(layers=(1, -1), mix=side_by_side)).encoded(tokens, pool).cond.shape == (1, 5, 64)
    assert handle.read_as(Reading(layers=(0, 1, 2), mix=stacked, drop=1)).encoded(tokens, pool).cond.shape == (1, 3, 4, 32)
    assert torch.equal(handle.with_layer(-2).encoded(tokens, pool).cond, handle.read_as(Reading(layers=(1,))).encoded(tokens, pool).cond)
    assert handle.read_as(Reading(pad=0)).with_options(qwen25_7b_min_length=9).encoded(tokens, pool).cond.shape == (1, 9, 32)


def test_a_vector_in_place_of_a_token(handle: LmHandle) -> None:
    pool = Pool("cpu")
    plain = handle.encoded({handle.branch: [[(5, 1.0), (9, 1.0)]]}, pool).cond
    vector = state()["model.embed_tokens.weight"][5]
    assert torch.equal(handle.encoded({handle.branch: [[(vector, 1.0), (9, 1.0)]]}, pool).cond, plain)
    with pytest.raises(BadInput, match="7 wide, Qwen"):
        handle.encoded({handle.branch: [[(torch.zeros(7), 1.0)]]}, pool)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [({"l": [[(1, 1.0)]]}, "tokens are for l; this text encoder takes 'qwen25_7b'"), ({"qwen25_7b": [[(999, 1.0)]]}, "Token 999 is not")],
)
def test_tokens_of_others(handle: LmHandle, tokens: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        handle.encoded(tokens, Pool("cpu"))


def test_nothing_to_read(handle: LmHandle) -> None:
    with pytest.raises(BadInput, match="nothing to encode"):
        handle.conditioning("", Pool("cpu"))
    with pytest.raises(BadInput, match="Nothing is left"):
        handle.read_as(Reading(drop=5)).conditioning("abc", Pool("cpu"))


def test_a_weight_is_missing() -> None:
    broken = state()
    del broken["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(BadFile, match=r"Qwen 2\.5, but the weight layers\.1\.mlp\.up_proj\.weight is missing"):
        text_encoders(Found(Held(broken, "qwen.safetensors"), "lm", torch.float32))
    broken = state()
    broken["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 4)
    with pytest.raises(BadFile, match=r"has the shape \[3, 4\]"):
        text_encoders(Found(Held(broken, "qwen.safetensors"), "lm", torch.float32))
    broken = state()
    broken["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(3, 32)
    with pytest.raises(BadFile, match="do not fit together"):
        text_encoders(Found(Held(broken, "qwen.safetensors"), "lm", torch.float32))


def test_a_file_that_was_cut(monkeypatch: pytest.MonkeyPatch, handle: LmHandle) -> None:
    """Without the last layers and the norm behind them, as image models read it."""
    cut = {key: value for key, value in state().items() if ".layers.1." not in key and key != "model.norm.weight"}
    (short,) = text_encoders(Found(Held(cut), "cut", torch.float32))
    assert isinstance(short, LmHandle)
    first = Reading(layers=(1,))
    tokens, pool = handle.tokenize("abc"), Pool("cpu")
    assert torch.equal(short.read_as(first).encoded(tokens, pool).cond, handle.read_as(first).encoded(tokens, pool).cond)
    assert torch.equal(short.encoded(tokens, pool).cond, handle.read_as(first).encoded(tokens, pool).cond)
    with pytest.raises(BadInput, match="has 1 layers, but layer 2 is to be read"):
        short.read_as(Reading(layers=(2,))).encoded(tokens, pool)
    with pytest.raises(BadInput, match="cannot write: its file was cut"):
        generate(short, [1, 2], 3, Choosing(), pool)


@pytest.mark.parametrize(
    "name",
    [
        "text_encoders.qwen25_7b.transformer.model.{}.lora_A.weight", "qwen25_7b.transformer.model.{}.lora_A.weight",
        "text_encoder.model.{}.lora_A.weight", "text_encoder.{}.lora_A.weight", "lora_te_model_{}.lora_down.weight",
        "lora_te1_{}.lora_down.weight",
    ],
)  # fmt: skip
def test_adapters_of_language_models(name: str, handle: LmHandle) -> None:
    """Names that trainers give a module of a language model."""
    module = "layers.1.self_attn.q_proj"
    down = name.format(module.replace(".", "_") if name.startswith("lora") else module)
    up = down.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    file = Held({down: torch.randn(2, 32), up: torch.randn(256, 2)})
    _, patched, report = lora.apply(None, handle, file)
    assert patched is not None and report.clip == 1 and not report.unmatched
    tokens, pool = handle.tokenize("abc"), Pool("cpu")
    assert not torch.equal(patched.encoded(tokens, pool).cond, handle.encoded(tokens, pool).cond)


def test_llamas_that_are_not_known() -> None:
    """Llama 3.2 1B turns by other angles: nothing is better than nonsense."""
    shown = Shown(2048, 16, 2048, 512, 8192, 128256, False, None, False, "")
    assert make_of(shown) is None
