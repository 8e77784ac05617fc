"""Generate Text: what the model is asked, what comes back, and what is said of inputs that do not fit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models

from backend.base.errors import BadInput, Interrupted
from backend.encoders.joint import JointText
from backend.encoders.lm import spec
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.makes import MAKES
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.text import Found
from backend.graph.describe import object_info
from backend.memory.pool import Pool
from backend.nn.layers import RMSNorm, init_weights
from backend.weights.held import Held
from backend.workflow.document import Workflow
from backend.workflow.widgets import form_of, values_of
from nodes import builtin
from nodes.text_generate import text_generate, text_generate_ltx2_prompt

LETTERS = [chr(32 + i) for i in range(95)] + ["\n"]
MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<think>", "</think>"]
SIZES = LmSizes(width=32, layers=2, heads=2, kv_heads=1, head=16, mlp=48, vocabulary=len(LETTERS) + len(MARKS), qk_norm=True)


def words() -> Tokenizer:
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*LETTERS, *MARKS])}, merges=[]))
    made.add_tokens([AddedToken(mark, special="think" not in mark, normalized=False) for mark in MARKS])
    made.decoder = decoders.Fuse()
    return made


class Source:
    def __init__(self) -> None:
        self.made = words()

    def tokenizer(self) -> Tokenizer:
        return self.made


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> LmHandle:
    monkeypatch.setattr(spec, "vocabulary", lambda *args: Source())
    torch.manual_seed(0)
    net = init_weights(LanguageModel(SIZES))
    for module in net.modules():
        if isinstance(module, RMSNorm) and module.weight is not None:
            torch.nn.init.ones_(module.weight)
    weights = {"model." + name: value.detach() for name, value in net.state_dict().items()}
    (handle,) = spec.text_encoders(Found(Held(weights), "writer", torch.float32))
    assert handle.title == "Qwen 3"
    return replace(handle, make=replace(handle.make, ends=()))


def context(stop_at: int = 10**9) -> Any:
    def progress(count: int, total: int) -> None:
        seen.append((count, total))
        if count >= stop_at:
            raise Interrupted

    seen: list[tuple[int, int]] = []
    return SimpleNamespace(node="1", services=SimpleNamespace(pool=Pool("cpu")), progress=progress, seen=seen)


def written(clip: Any, ctx: Any = None, **values: Any) -> Any:
    given = {"image": None, "video": None, "audio": None, "system_prompt": "", "prompt": "a cat", "max_length": 8, "sampling_mode": "off",
             "thinking": False, "use_default_template": True, "mtp": "auto"}  # fmt: skip
    return text_generate(ctx or context(), clip=clip, **{**given, **values})


def test_it_writes_the_same_again(writer: LmHandle) -> None:
    ctx = context()
    text, _ = written(writer, ctx)
    assert ctx.seen == [(i, 8) for i in range(1, 9)]
    assert written(writer).generated_text == text
    thrown = {"sampling_mode": "on", "sampling_mode.temperature": 2.0, "sampling_mode.seed": 3, "max_length": 20}
    assert written(writer, **thrown) == written(writer, **thrown) != written(writer, **{**thrown, "sampling_mode.seed": 4})


def test_what_is_asked(writer: LmHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(model: LmHandle, entries: list[Any], *rest: Any) -> list[int]:
        asked.append("".join(model.tokenizer.id_to_token(entry) for entry in entries))
        return model.ids("<think>so</think>yes<|im_end|>")

    monkeypatch.setattr("nodes.text_generate.generate", note)
    assert written(writer, system_prompt="be brief", prompt="{} a") == ("yes", "so")
    assert written(writer, thinking=True) == ("yes", "so")
    written(writer, use_default_template=False, prompt="<|im_start|>mine")
    assert asked == [
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n{} a<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>mine",
    ]


def test_prompts_for_films(writer: LmHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(model: LmHandle, entries: list[Any], *rest: Any) -> list[int]:
        asked.append("".join(model.tokenizer.id_to_token(entry) for entry in entries))
        return model.ids("a film")

    monkeypatch.setattr("nodes.text_generate.generate", note)
    given = {"image": None, "video": None, "audio": None, "max_length": 8, "sampling_mode": "on", "thinking": False}
    assert text_generate_ltx2_prompt(context(), clip=writer, prompt="a cat", use_default_template=True, **given) == "a film"
    assert text_generate_ltx2_prompt(context(), clip=writer, prompt="a cat", use_default_template=False, **given) == "a film"
    assert asked[0].startswith("<|im_start|>system\nYou write prompts for a model that makes films") and "a cat<|im_end|>" in asked[0]
    assert "begins with the picture" not in asked[0] and asked[1] == "a cat"


def test_a_cancel_stops_it(writer: LmHandle) -> None:
    ctx = context(stop_at=3)
    with pytest.raises(Interrupted):
        written(writer, ctx)
    assert len(ctx.seen) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": torch.zeros(1, 8, 8, 3)}, "Qwen 3 cannot see"),
        ({"audio": {}}, "Qwen 3 cannot listen"),
        ({"sampling_mode": "maybe"}, "`sampling_mode` is 'maybe'"),
        ({"sampling_mode": "on", "sampling_mode.temperature": "hot"}, "`temperature` is 'hot'"),
        ({"sampling_mode": "on", "sampling_mode.min_p": 7}, "`min_p` is 7"),
        ({"prompt": "", "use_default_template": False}, "the prompt is empty"),
        ({"clip": None}, "no language model on this wire"),
        ({"clip": SimpleNamespace(title="CLIP-L")}, "CLIP-L reads text but cannot write it"),
    ],
)
def test_inputs_that_do_not_fit(writer: LmHandle, values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        written(values.pop("clip", writer), **values)


def test_one_among_several_encoders_writes(writer: LmHandle) -> None:
    assert written(JointText((writer,))) == written(writer)


def test_every_chat_has_a_place_for_the_question() -> None:
    for make in MAKES:
        assert make.chat.count("{}") == 1 and "{system}" in make.chat and make.chat.endswith(make.thought) and make.ends, make.name
    assert [make.name for make in MAKES if make.thought] == ["Qwen 3.5", "Qwen 3"]


def test_values_by_name_reach_the_inputs_that_a_choice_brings() -> None:
    kind = next(t for t in builtin() if t.id == "TextGenerate")
    saved = {"prompt": "hi", "max_length": 9, "sampling_mode": "on", "sampling_mode.temperature": 1.5, "sampling_mode.seed": 3}
    node = {"id": 1, "type": "TextGenerate", "inputs": [], "outputs": [], "widgets_values": [], "widgets_values_named": saved}
    workflow = Workflow.parse({"version": 0.4, "last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": []})
    values, complete = values_of(workflow.root.nodes[0], form_of(kind.id, object_info(kind, lambda files: [])))
    assert complete and values["sampling_mode.temperature"] == 1.5 and values["sampling_mode.seed"] == 3 and values["max_length"] == 9
    assert values["sampling_mode.top_k"] == 64 and values["mtp"] == "auto"
