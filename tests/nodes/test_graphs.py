"""Whole graphs of built-in nodes through validation and the executor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.base import events as ev
from backend.engine.executor import Executor, Outcome
from backend.engine.job import Job
from backend.graph.choices import FolderChoices
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from nodes import builtin
from tests.families import tiny
from tests.nodes.bench import Bench


class Application:
    """Validates and runs documents, one after the other."""

    def __init__(self, home: Path) -> None:
        self.bench = Bench(home)
        self.registry = Registry(builtin())
        self.executor = Executor(self.registry, self.bench.events.append, services=self.bench.services, around=torch.inference_mode)

    def check(self, graph: dict[str, Any]) -> Any:
        return validate(Prompt.parse(graph), self.registry, choices=FolderChoices(self.bench.folders))

    def run(self, graph: dict[str, Any], extra: dict[str, Any] | None = None) -> Outcome:
        checked = self.check(graph)
        assert checked.error is None and not checked.node_errors, (checked.error, checked.node_errors)
        self.bench.events.clear()
        return self.executor.run(Job("job", checked.prompt, tuple(checked.targets), {"extra_pnginfo": extra or {}}))

    def of(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.bench.events if isinstance(e, kind)]


@pytest.fixture
def app(tmp_path: Path) -> Application:
    app = Application(tmp_path)
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    return app


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def default_graph(**sampler: Any) -> dict[str, Any]:
    settings = {"seed": 1, "steps": 3, "cfg": 2.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0, **sampler}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "2": node("CLIPTextEncode", text="a star", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "5": node("KSampler", model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0], **settings),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="out"),
    }


def test_prompt_to_picture(app: Application) -> None:
    tiny.make().single(app.bench.folders.models / "checkpoints" / "tiny.safetensors")
    graph, workflow = default_graph(), {"nodes": ["é"]}
    assert app.run(graph, {"workflow": workflow}).status == "success"
    with Image.open(app.bench.folders.output / "out_00001_.png") as picture:
        assert picture.size == (16, 16)  # 8 x 8 latents through a codec of factor 2
        assert json.loads(picture.text["prompt"]) == graph and json.loads(picture.text["workflow"]) == workflow
        first = np.asarray(picture)
    assert first.std() > 0
    again = app.run(default_graph(seed=2))
    assert again.status == "success" and again.executed == 3  # sampler, decoder, saver; the rest is remembered
    assert app.run(default_graph(seed=1)).status == "success"
    with Image.open(app.bench.folders.output / "out_00003_.png") as picture:
        assert np.array_equal(np.asarray(picture), first)


def test_a_part_that_is_missing_is_said_at_the_node_that_needs_it(app: Application) -> None:
    from backend.weights.save import save_safetensors

    state = {k: v for k, v in tiny.make().single_state().items() if not k.startswith("cond_stage")}
    save_safetensors(app.bench.folders.models / "checkpoints" / "tiny.safetensors", state)
    app.run(default_graph())
    assert {e.node for e in app.of(ev.NodeBlocked)} == {"2", "3"}
    assert "holds no text encoder" in repr(app.of(ev.NodeBlocked))
    assert not list(app.bench.folders.output.glob("*.png"))


def test_errors_name_the_node(app: Application) -> None:
    (app.bench.folders.models / "checkpoints" / "tiny.safetensors").write_bytes(b"\x00" * 100)
    outcome = app.run(default_graph())
    assert outcome.status == "error" and outcome.error is not None
    assert outcome.error.node == "1" and "tiny.safetensors" in outcome.error.message


def test_unknown_values_do_not_pass_validation(app: Application) -> None:
    tiny.make().single(app.bench.folders.models / "checkpoints" / "tiny.safetensors")
    for changes in ({"sampler_name": "magic"}, {"steps": 0}, {"denoise": 2.0}, {"cfg": "much"}):
        checked = app.check(default_graph(**changes))
        assert checked.node_errors["5"]["errors"][0]["extra_info"]["input_name"] == next(iter(changes))


def put(app: Application, name: str, value: int) -> None:
    Image.new("RGB", (6, 4), (value, value, value)).save(app.bench.folders.input / name)


def test_a_picture_is_read_again_only_when_it_changed(app: Application) -> None:
    put(app, "a.png", 10)
    graph = {"1": node("LoadImage", image="a.png"), "2": node("ImageInvert", image=["1", 0]), "3": node("PreviewImage", images=["2", 0])}
    assert app.run(graph).executed == 3
    assert app.run(graph).cached == 3
    put(app, "a.png", 20)
    assert app.run(graph).executed == 3
    item = app.of(ev.NodeShown)[-1].output["images"][0]
    with Image.open(app.bench.folders.temp / item["filename"]) as picture:
        assert picture.getpixel((0, 0)) == (235, 235, 235)


def test_lists_are_mapped_and_joined(app: Application) -> None:
    graph = {
        "1": node("EmptyImage", width=4, height=4, batch_size=5, color=255),
        "2": node("RebatchImages", images=["1", 0], batch_size=2),
        "3": node("GetImageSize", image=["2", 0]),
        "4": node("PreviewAny", source=["3", 2]),
        "5": node("RebatchImages", images=["2", 0], batch_size=9),
        "6": node("SaveImage", images=["5", 0], filename_prefix="joined"),
    }
    assert app.run(graph).status == "success"
    assert app.of(ev.NodeShown)[0].output == {"text": ["2", "2", "1"]}
    assert len(list(app.bench.folders.output.glob("joined_*.png"))) == 5


def test_text_flows_into_widgets(app: Application) -> None:
    graph = {
        "1": node("PrimitiveString", value="red"),
        "2": node("StringConcatenate", string_a=["1", 0], string_b="cat", delimiter=" "),
        "3": node("StringLength", string=["2", 0]),
        "4": node("PreviewAny", source=["3", 0]),
        "5": node("RegexReplace", string=["2", 0], regex_pattern="c", replace="b"),
        "6": node("PreviewAny", source=["5", 0]),
    }
    assert app.run(graph).status == "success"
    assert {e.node: e.output for e in app.of(ev.NodeShown)} == {"4": {"text": ["7"]}, "6": {"text": ["red bat"]}}


def test_a_file_that_is_no_model_fails_the_run_with_a_sentence(app: Application) -> None:
    (app.bench.folders.models / "controlnet").mkdir(parents=True)
    (app.bench.folders.models / "controlnet" / "c.safetensors").write_bytes(b"x")
    graph = {"1": node("ControlNetLoader", control_net_name="c.safetensors"), "2": node("PreviewAny", source=["1", 0])}
    outcome = app.run(graph)
    assert outcome.status == "error" and outcome.error is not None
    assert "c.safetensors: it is no safetensors" in outcome.error.message and outcome.error.node == "1"
