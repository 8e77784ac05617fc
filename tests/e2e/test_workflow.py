"""The editor's form through the front door: queued as it is, converted by the server and by the command line, and run out of a picture."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backend.workflow.metadata import read
from tests.conftest import ROOT, Running
from tests.e2e.wiretap import Answer, ask

pytestmark = pytest.mark.slow
SIZE = (64, 32)
EMPTY: dict[str, Any] = {
    "id": 1,
    "type": "EmptyImage",
    "mode": 0,
    "inputs": [],
    "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
    "widgets_values": [*SIZE, 1, 255],
}
REROUTE = {"id": 2, "type": "Reroute", "mode": 0, "inputs": [{"name": "", "type": "*", "link": 1}], "outputs": [{"name": "", "type": "*"}]}
SAVE = {"id": 3, "type": "SaveImage", "mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 2}], "widgets_values": ["drawn"]}
WORKFLOW = {"version": 0.4, "nodes": [EMPTY, REROUTE, SAVE], "links": [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "IMAGE"]], "extra": {"a": "ä"}}
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255}},
    "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "drawn", "images": ["1", 0]}},
}


def bare(prompt: dict[str, Any]) -> dict[str, Any]:
    return {id: {key: node[key] for key in ("class_type", "inputs")} for id, node in prompt.items()}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "main.py"), *words], capture_output=True, text=True, timeout=300, check=False)


def test_an_editor_workflow_runs_and_travels_in_its_picture_which_runs_again(server: Running, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.json"
    drawn.write_text(json.dumps(WORKFLOW), encoding="utf-8")
    done = command("run", str(drawn), "--server", server.url, "-o", str(tmp_path), "-q")
    assert (done.returncode, done.stderr) == (0, "")
    picture = Path(done.stdout.strip())
    held = read(picture)
    assert held.workflow == WORKFLOW
    assert held.prompt is not None
    assert bare(held.prompt) == PROMPT
    again = command("run", str(picture), "--server", server.url, "-o", str(tmp_path / "again"), "-q")
    assert (again.returncode, again.stderr) == (0, "")
    with Image.open(picture) as one, Image.open(again.stdout.strip()) as other:
        assert one.size == other.size == SIZE
        assert one.tobytes() == other.tobytes()
        assert one.getpixel((0, 0)) == (0, 0, 255)


def test_the_server_takes_the_editors_form_as_a_prompt(server: Running) -> None:
    answer = ask(f"{server.url}/prompt", {"prompt": WORKFLOW})
    assert answer.status == 200, answer.body
    assert answer.json()["node_errors"] == {}
    unknown = {**WORKFLOW, "nodes": [EMPTY, REROUTE, {**SAVE, "type": "Nowhere"}]}
    answer = ask(f"{server.url}/prompt", {"prompt": unknown})
    assert answer.status == 400
    assert answer.json()["error"]["details"] == "Node ID '#3'"


def convert(server: Running, data: Any, query: str = "") -> Answer:
    return ask(f"{server.url}/workflow/convert{query}", data)


def test_the_server_converts_both_ways(server: Running) -> None:
    made = convert(server, WORKFLOW).json()
    assert (bare(made["prompt"]), made["workflow"], made["missing"]) == (PROMPT, WORKFLOW, {})
    back = convert(server, made["prompt"]).json()
    assert bare(convert(server, back["workflow"]).json()["prompt"]) == PROMPT
    lost = convert(server, {"nodes": [{"id": 1, "type": "Nowhere", "properties": {"aux_id": "a/pack"}}], "links": []}).json()
    assert lost["missing"] == {"Nowhere": {"pack": "a/pack", "nodes": ["1"]}}


def test_what_cannot_be_converted_is_said(server: Running) -> None:
    for data, status in ((b"", 400), (b"hello", 422), (b"\x89PNG\r\n\x1a\n", 422), ({"nodes": [5]}, 422), ({"a": 1}, 422)):
        answer = convert(server, data)
        assert answer.status == status, (data, answer.body)
        assert answer.json()["error"]["message"]
    assert convert(server, WORKFLOW, "?seed=x").status == 400
    assert ask(f"{server.url}/prompt", {"prompt": {"nodes": [5], "links": []}}).status == 422


def test_the_command_line_converts(server: Running, tmp_path: Path) -> None:
    drawn, there, back = (tmp_path / name for name in ("drawn.json", "prompt.json", "back.json"))
    drawn.write_text(json.dumps(WORKFLOW), encoding="utf-8")
    done = command("convert", str(drawn), str(there), "--server", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert bare(json.loads(there.read_text("utf-8"))) == PROMPT
    assert command("convert", str(there), str(back), "--server", server.url).returncode == 0
    assert [node["type"] for node in json.loads(back.read_text("utf-8"))["nodes"]] == ["EmptyImage", "SaveImage"]
    done = command("convert", str(tmp_path / "nothing.json"), "-")
    assert done.returncode == 2
    assert "There is no file" in done.stderr


def test_models_are_found_under_other_names(server: Running, tmp_path: Path) -> None:
    offered = ask(f"{server.url}/models/checkpoints").json()
    here = next(name for name in offered if name.endswith(".safetensors"))
    load: dict[str, Any] = {"id": 9, "type": "CheckpointLoaderSimple", "mode": 0, "inputs": [], "outputs": []}
    drawn = {**WORKFLOW, "nodes": [*WORKFLOW["nodes"], {**load, "widgets_values": [f"other\\{here}"]}]}
    found = convert(server, drawn).json()
    assert found["prompt"]["9"]["inputs"]["ckpt_name"] == here and found["models"][0]["how"] == "name" and found["notes"]
    assert here in ask(f"{server.url}/prompt", {"prompt": drawn}).json()["notes"][0]
    digest = hashlib.sha256((ROOT / "models" / "checkpoints" / here).read_bytes()).hexdigest()
    renamed = {"name": "renamed.safetensors", "hash": digest, "hash_type": "SHA256"}
    graph = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "renamed.safetensors"}}}
    told = {"prompt": graph, "workflow": {"nodes": [{"properties": {"models": [renamed]}}]}}
    answer = ask(f"{server.url}/workflow/models", told).json()
    assert answer["models"][0]["how"] == "hash" and answer["prompt"]["1"]["inputs"]["ckpt_name"] == here
    assert ask(f"{server.url}/workflow/models", {"workflow": {}}).status == 400
    prompt = tmp_path / "prompt.json"
    prompt.write_text(json.dumps({**PROMPT, "9": {**graph["1"], "inputs": {"ckpt_name": "lost.safetensors"}}}), encoding="utf-8")
    done = command("run", str(prompt), "--server", server.url, "-o", str(tmp_path), "-q")
    assert done.returncode == 0 and "There is no file lost.safetensors" in done.stderr
