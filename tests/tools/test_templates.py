"""Every ready-made graph is what its tool writes, opens, converts, and runs on tiny random twins of its models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.engine.executor import Executor
from backend.engine.job import Job
from backend.graph.choices import FolderChoices
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from backend.weights.save import save_safetensors
from backend.workflow.document import Workflow
from backend.workflow.to_prompt import to_prompt
from nodes import builtin
from tests.nodes.bench import Bench
from tests.tools.twins import place
from tools.templates import FOLDER, definitions, entry, templates, workflow
from tools.templates.parts import PICTURE, Template
from tools.templates.thumbnail import draw

TEMPLATES, REGISTRY = templates(), Registry(builtin())
SMALL = {"steps": 2, "width": 64, "height": 64, "target_width": 64, "target_height": 64, "start_at_step": None, "end_at_step": None}
SMALL |= {"largest_size": 64, "max_length": 4, "context_length": 16, "context_overlap": 4, "sigmas": "14.6, 1.0, 0", "resolution_level": 0}
SMALL |= {"length": 5}


def shrunk(prompt: dict[str, Any]) -> dict[str, Any]:
    """The same graph at a few steps and pixels."""
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "SDTurboScheduler":
            continue
        inputs |= {key: value for key, value in SMALL.items() if value is not None and type(inputs.get(key)) is type(value)}
        if "start_at_step" in inputs:
            inputs |= {"start_at_step": 1, "end_at_step": 10000} if inputs["start_at_step"] else {"end_at_step": 1}
    return prompt


@pytest.mark.parametrize("template", TEMPLATES, ids=[template.name for template in TEMPLATES])
def test_template(template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.qwen.MEGAPIXEL", 64 * 64)
    if template.name.startswith("anima"):  # a tiny language model is told by its width as any other
        monkeypatch.setattr("backend.families.anima.texts.BRANCHES", ("qwen3_4b",))
    known = definitions()
    file = json.loads((FOLDER / f"{template.name}.json").read_text(encoding="utf-8"))
    assert file == workflow(template, known), "run `python -m tools.templates`"
    assert (FOLDER / f"{template.name}.svg").read_text(encoding="utf-8") == draw(file)
    converted = to_prompt(Workflow.parse(file), known)
    assert not converted.missing
    bench = Bench(tmp_path)
    (bench.folders.input).mkdir(parents=True, exist_ok=True)
    painted = Image.new("RGBA", (16, 16), (120, 40, 200, 255))
    painted.paste((0, 0, 0, 0), (4, 4, 12, 12))
    painted.save(bench.folders.input / "example.png")
    save_safetensors(bench.folders.input / "face.safetensors", {"face": torch.ones(1, 512)})
    for model in template.models:
        place(bench.folders.models, model.name, model.folder)
    executor = Executor(REGISTRY, bench.events.append, services=bench.services, around=torch.inference_mode)
    checked = validate(Prompt.parse(shrunk(converted.prompt)), REGISTRY, choices=FolderChoices(bench.folders))
    assert checked.error is None and not checked.node_errors, (checked.error, checked.node_errors)
    outcome = executor.run(Job("job", checked.prompt, tuple(checked.targets), {}))
    assert outcome.status == "success", [str(event) for event in bench.events[-3:]]
    assert [*bench.folders.output.glob("*.png"), *bench.folders.output.rglob("*.mp4")]


def test_the_picture_that_graphs_ask_for_is_there_with_a_mask() -> None:
    with Image.open(FOLDER.parents[1] / "input" / PICTURE) as picture:
        assert picture.mode == "RGBA" and picture.size == (512, 512)
        assert picture.getchannel("A").getextrema() == (0, 255)


def test_the_index_lists_them() -> None:
    assert json.loads((FOLDER / "index.json").read_text(encoding="utf-8")) == [entry(template) for template in TEMPLATES]
    assert {path.stem for path in FOLDER.iterdir()} == {template.name for template in TEMPLATES} | {"index"}
    for template in TEMPLATES:
        loaders = {value for node in template.graph.values() for value in node["inputs"].values() if isinstance(value, str)}
        assert all(any(model.name in value for value in loaders) for model in template.models)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
