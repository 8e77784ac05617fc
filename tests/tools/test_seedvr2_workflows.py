"""The published files for SeedVR2, unmodified, enlarge a picture with transparency, on tiny random twins of their models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from backend.engine.executor import Executor
from backend.engine.job import Job
from backend.graph.choices import FolderChoices
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from backend.workflow.document import Workflow
from backend.workflow.to_prompt import to_prompt
from nodes import builtin
from tests.nodes.bench import Bench
from tests.tools.seedvr2_twins import MAKERS
from tools.templates import definitions

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "workflows"
FOLDERS = {"unet_name": "diffusion_models", "vae_name": "vae"}


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_a_picture_comes_out_four_times_as_large(size: str, tmp_path: Path) -> None:
    file = FOLDER / f"newer-utility_seedvr2_{size}_int8_upscale_image.workflow.json"
    if not file.exists():
        pytest.skip("the shared workflows are not beside this repository")
    converted = to_prompt(Workflow.parse(json.loads(file.read_text(encoding="utf-8"))), definitions())
    assert not converted.missing
    bench = Bench(tmp_path)
    bench.folders.input.mkdir(parents=True, exist_ok=True)
    for node in converted.prompt.values():
        if node["class_type"] == "LoadImage":
            picture = Image.new("RGBA", (18, 13), (120, 40, 200, 255))
            picture.paste((200, 180, 20, 0), (4, 4, 12, 9))
            picture.save(bench.folders.input / node["inputs"]["image"])
        for key, folder in FOLDERS.items():
            if key in node["inputs"]:
                path = bench.folders.models / folder / node["inputs"][key]
                path.parent.mkdir(parents=True, exist_ok=True)
                MAKERS[path.name](path)
    registry = Registry(builtin())
    checked = validate(Prompt.parse(converted.prompt), registry, choices=FolderChoices(bench.folders))
    assert checked.error is None and not checked.node_errors, (checked.error, checked.node_errors)
    executor = Executor(registry, bench.events.append, services=bench.services, around=torch.inference_mode)
    outcome = executor.run(Job("job", checked.prompt, tuple(checked.targets), {}))
    assert outcome.status == "success", [str(event) for event in bench.events[-3:]]
    (made,) = bench.folders.output.rglob("*.png")
    with Image.open(made) as picture:
        assert picture.mode == "RGBA" and picture.size == (72, 52) and picture.getchannel("A").getextrema() == (0, 255)
        assert picture.getpixel((0, 0)) != picture.getpixel((40, 40))
