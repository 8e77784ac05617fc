"""Our CLIP tokenizer and text encoder against transformers and OpenAI's own tokenizer."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.spec import all_of, from_checkpoint, joined
from backend.encoders.clip.vocabulary import byte_pairs, locate, read_merges, vocabulary
from backend.encoders.joint import JointText
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.patch import Patch
from tests.families.published import openclip, rooted

transformers = pytest.importorskip("transformers")

WIDTH, LAYERS, MLP = 128, 3, 256
CORPUS = [
    "a photo of an astronaut riding a horse on mars",
    "It's  A\tCAFÉ, naïve\n\nfiancée's",
    "東京の夜、ネオン ✨ 霧",
    "Привет, мир! Ёлка",
    "كلب يركض على الشاطئ",
    "한국어 프롬프트 테스트",
    "ΟΔΟΣ Σίσυφος İstanbul straße ǅ",
    "👨‍👩‍👧‍👦 family 🏳️‍🌈 12345 a1b2 3.14",
    "e\u0301e\u0301 x\u0301\u0302 ﬁ ½",
    "score_9, (masterpiece), [draft], {x}, <lora:a:1>, a|b",
    "<|endoftext|> end <|startoftext|> <|ENDOFTEXT|>",
    "don't we'll they've i'm you're he'd ''s",
    "\u00a0nbsp\u2003em\u200bzero\ufeffbom\x1cfs",
]


@cache
def reference_tokenizer() -> Any:
    merges = read_merges(locate())
    return transformers.CLIPTokenizer(vocab=vocabulary(merges), merges=merges)


@cache
def openai_tokenizer() -> Any:
    """The original tokenizer, loaded from its file so that the package's own imports do not run."""
    pytest.importorskip("ftfy")
    spec = importlib.util.spec_from_file_location("openai_simple_tokenizer", locate().with_name("simple_tokenizer.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def ours(text: str) -> list[int]:
    return byte_pairs().encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", CORPUS)
def test_tokens_as_transformers(text: str) -> None:
    assert ours(text) == reference_tokenizer()(text)["input_ids"][1:-1]


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_tokens_as_transformers_on_anything(text: str) -> None:
    assert ours(text) == reference_tokenizer()(text)["input_ids"][1:-1]


@pytest.mark.parametrize("text", [CORPUS[i] for i in (0, 1, 2, 3, 5, 9, 11)])
def test_tokens_as_openai(text: str) -> None:
    assert ours(text) == openai_tokenizer().encode(text)


def config(act: str = "quick_gelu", width: int = WIDTH) -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // 64,
        max_position_embeddings=77,
        projection_dim=48,
        hidden_act=act,
        eos_token_id=49407,
        bos_token_id=49406,
        pad_token_id=49407,
    )


def random(net: Any) -> Any:
    """Weights large enough that attention, norms and biases matter."""
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        centre = 1.0 if "layer_norm" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, centre, 0.1)
    return net.eval()


@cache
def reference(projected: bool = False) -> Any:
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return random(kind(config()))


def handle(net: Any, prefix: str) -> ClipHandle:
    """Ours, loaded through detection from the reference's weights under published key names."""
    source = {prefix + published(key): value for key, value in net.state_dict().items()}
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in source.items()}
    found = from_checkpoint(source, header)
    assert found is not None
    return found


def published(key: str) -> str:
    return key if key.startswith(("text_model.", "text_projection.")) else "text_model." + key


def ids(handle: ClipHandle, text: str) -> Tensor:
    return torch.tensor([[entry[0] for entry in chunk] for chunk in handle.tokenize(text)[handle.branch]])


@pytest.mark.parametrize("prefix", ["cond_stage_model.transformer.", "", "text_encoders.clip_l.transformer."])
def test_hidden_states_and_pooled(prefix: str) -> None:
    clip = handle(reference(), prefix)
    cond, pooled = clip.encode(clip.tokenize("a red cat, 日本"), Pool("cpu"))
    with torch.no_grad():
        want = reference()(ids(clip, "a red cat, 日本"))
    assert cond.shape == (1, 77, WIDTH) and pooled.shape == (1, WIDTH)
    assert (cond - want.last_hidden_state).abs().max() < 1e-5
    assert (pooled - want.pooler_output).abs().max() < 1e-5


@pytest.mark.parametrize("layer", [-1, -2, -3])
def test_clip_skip_is_an_earlier_layer_under_the_final_norm(layer: int) -> None:
    clip = handle(reference(), "").with_layer(layer)
    cond, pooled = clip.encode(clip.tokenize("a red cat"), Pool("cpu"))
    net = reference()
    with torch.no_grad():
        want = net(ids(clip, "a red cat"), output_hidden_states=True)
        norm = dict(net.named_modules())[next(n for n, _ in net.named_modules() if n.endswith("final_layer_norm"))]
        hidden = norm(want.hidden_states[layer])
    assert (cond - hidden).abs().max() < 1e-5
    assert (pooled - want.pooler_output).abs().max() < 1e-5


def test_layers_the_net_lacks_mean_the_last() -> None:
    clip, pool = handle(reference(), ""), Pool("cpu")
    last, _ = clip.encode(clip.tokenize("cat"), pool)
    far, _ = clip.with_layer(-24).encode(clip.tokenize("cat"), pool)
    assert torch.equal(last, far)


def test_projected_pooled() -> None:
    clip = handle(reference(projected=True), "")
    _, pooled = clip.encode(clip.tokenize("a red cat"), Pool("cpu"))
    with torch.no_grad():
        want = reference(projected=True)(ids(clip, "a red cat")).text_embeds
    assert pooled.shape == (1, 48)
    assert (pooled - want).abs().max() < 1e-5


def test_exact_gelu_of_the_wide_towers() -> None:
    net = random(transformers.CLIPTextModel(config("gelu", 1024)))
    clip = handle(net, "")
    cond, _ = clip.encode(clip.tokenize("a red cat"), Pool("cpu"))
    with torch.no_grad():
        want = net(ids(clip, "a red cat")).last_hidden_state
    assert (cond - want).abs().max() < 1e-5


def test_chunks_are_encoded_apart_and_joined() -> None:
    clip = handle(reference(), "")
    text = "cat " * 80
    cond, pooled = clip.encode(clip.tokenize(text), Pool("cpu"))
    with torch.no_grad():
        want = reference()(ids(clip, text))
    assert cond.shape == (1, 154, WIDTH)
    assert (cond - want.last_hidden_state.reshape(1, 154, WIDTH)).abs().max() < 1e-5
    assert (pooled - want.pooler_output[:1]).abs().max() < 1e-5


def test_token_vectors_stand_for_embeddings() -> None:
    clip, pool = handle(reference(), ""), Pool("cpu")
    table = reference().get_input_embeddings().weight
    plain, plain_pooled = clip.encode(clip.tokenize("a red cat"), pool)
    tokens = clip.tokenize("a red cat")["l"]
    tokens[0][2] = (table[tokens[0][2][0]].detach().clone(), 1.0)
    cond, pooled = clip.encode({"l": tokens}, pool)
    assert torch.equal(cond, plain) and torch.equal(pooled, plain_pooled)
    tokens[0][2] = (torch.zeros(WIDTH), 1.0)
    assert not torch.allclose(clip.encode({"l": tokens}, pool)[0], plain)


@pytest.mark.parametrize(
    ("prefix", "branch", "layer_norm"), [("cond_stage_model.model.", "h", True), ("conditioner.embedders.0.model.", "g", False)]
)
def test_openclip_names_pad_and_the_last_layer_but_one(prefix: str, branch: str, layer_norm: bool) -> None:
    net = random(transformers.CLIPTextModelWithProjection(config("gelu")))
    source = {prefix + key: value for key, value in openclip(net.state_dict()).items()}
    clip = from_checkpoint(source, {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in source.items()})
    assert clip is not None and clip.branch == branch
    tokens = ids(clip, "a red cat")
    assert tokens[0, 5:].eq(0).all(), "OpenCLIP fills up with zeros"
    cond, pooled = clip.encode(clip.tokenize("a red cat"), Pool("cpu"))
    with torch.no_grad():
        want = net(tokens, output_hidden_states=True)
        norm = dict(net.named_modules())[next(n for n, _ in net.named_modules() if n.endswith("final_layer_norm"))]
        hidden = norm(want.hidden_states[-2]) if layer_norm else want.hidden_states[-2]
    assert (cond - hidden).abs().max() < 1e-5
    assert (pooled - want.text_embeds).abs().max() < 1e-5


def test_sdxl_pair_is_one_value() -> None:
    small, big = random(transformers.CLIPTextModel(config())), random(transformers.CLIPTextModelWithProjection(config("gelu", 192)))
    source = {f"conditioner.embedders.0.transformer.{key}": value for key, value in rooted(small.state_dict()).items()}
    source |= {f"conditioner.embedders.1.model.{key}": value for key, value in openclip(big.state_dict()).items()}
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in source.items()}
    clip = joined(all_of(source, header))
    assert isinstance(clip, JointText) and clip.branches == ("l", "g")
    tokens = clip.tokenize("a red cat")
    cond, pooled = clip.encode(tokens, Pool("cpu"))
    with torch.no_grad():
        l, g = (torch.tensor([[entry[0] for entry in chunk] for chunk in tokens[branch]]) for branch in clip.branches)
        first, second = small(l, output_hidden_states=True), big(g, output_hidden_states=True)
    assert (cond - torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)).abs().max() < 1e-5
    assert (pooled - second.text_embeds).abs().max() < 1e-5
    with pytest.raises(BadInput, match="l and g"):
        clip.encode({"l": tokens["l"]}, Pool("cpu"))
    key = "clip_g.text_model.final_layer_norm.bias"
    assert key in clip.loadable.source and len(clip.loadable.source) == len(list(clip.loadable.source))
    shifted = clip.patched(Patch(key, 1.0, "shift", lambda w: w + 1))
    assert (shifted.encode(tokens, Pool("cpu"))[1] - pooled).abs().max() > 1e-3 and not shifted.parts[0].patches
    long = clip.encode({"l": tokens["l"] * 2, "g": tokens["g"]}, Pool("cpu"))[0]
    assert long.shape == cond.shape, "cut to the shortest"
