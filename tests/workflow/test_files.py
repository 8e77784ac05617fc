"""Every workflow of a collection of real files: opens, keeps its meaning, and converts as the editor that wrote it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.graph.document import Prompt
from backend.workflow.document import Workflow
from backend.workflow.from_prompt import from_prompt
from backend.workflow.metadata import read
from backend.workflow.to_prompt import to_prompt

SHARED = Path(__file__).resolve().parents[3] / "shared"
FOLDER = SHARED / "workflows"
EDITOR = sorted(FOLDER.glob("*.workflow.json"))
PAIRS = [path for path in EDITOR if path.with_name(path.name.replace(".workflow.", ".prompt.")).exists()]
CARRIERS = sorted((FOLDER / "files").glob("*"))
INERT = {"upload", "choose file to upload", "video-preview"}
pytestmark = pytest.mark.skipif(not EDITOR, reason="the collection of workflow files is not here")


@pytest.fixture(scope="module")
def definitions() -> Any:
    return json.loads((SHARED / "object_info.json").read_bytes())


def meaning(prompt: dict[str, Any]) -> dict[str, Any]:
    return {id: (body["class_type"], body["inputs"]) for id, body in prompt.items()}


def test_every_file_opens_and_is_written_back_as_it_was() -> None:
    for path in EDITOR:
        raw = read(path).workflow
        opened = Workflow.parse(raw)
        assert opened.to_json() == raw, path.name
        there = opened.to_json(1)
        assert there["version"] == 1
        back = Workflow.parse(there).to_json(0.4)
        assert {k: back[k] for k in ("nodes", "links", "last_node_id", "last_link_id")} == {
            k: raw[k] for k in ("nodes", "links", "last_node_id", "last_link_id")
        }, path.name


def test_every_file_converts_and_lays_out_to_a_workflow_that_converts_alike(definitions: Any) -> None:
    for path in EDITOR:
        made = to_prompt(Workflow.parse(read(path).workflow), definitions)
        both: tuple[dict[str, Any], ...] = (definitions, {})
        for known in both:
            drawn = from_prompt(Prompt.parse(made.prompt), known)
            assert meaning(to_prompt(Workflow.parse(drawn), known).prompt) == meaning(made.prompt), path.name


def difference(stored: dict[str, Any], ours: dict[str, Any], definitions: Any) -> list[str]:
    """Where our prompt is not the stored one, apart from buttons of old editors and defaults of inputs that came later."""
    found = [f"node {id}" for id in stored.keys() ^ ours.keys()]
    for id in stored.keys() & ours.keys():
        old, new = stored[id], ours[id]
        declared = definitions.get(old["class_type"], {}).get("input", {})
        fields = {**declared.get("required", {}), **declared.get("optional", {})}
        for name in old["inputs"].keys() | new["inputs"].keys():
            if name in INERT and name not in new["inputs"]:
                continue
            if name in old["inputs"] and name in new["inputs"] and old["inputs"][name] == new["inputs"][name]:
                continue
            options = fields[name][1] if name in fields and len(fields[name]) > 1 else {}
            choices = fields[name][0] if name in fields and isinstance(fields[name][0], list) else options.get("options", [None])
            if name not in old["inputs"] and new["inputs"][name] == options.get("default", choices[0]):
                continue
            found.append(f"{id} {old['class_type']}.{name}: {old['inputs'].get(name)!r:.50} became {new['inputs'].get(name)!r:.50}")
    return found


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.name.removesuffix(".workflow.json"))
def test_our_prompt_is_the_one_that_the_editor_sent(path: Path, definitions: Any) -> None:
    stored = read(path.with_name(path.name.replace(".workflow.", ".prompt."))).prompt
    made = to_prompt(Workflow.parse(read(path).workflow), definitions)
    assert stored is not None
    wrong = difference(stored, made.prompt, definitions)
    if made.notes:  # values of types that the definitions lack, without names in the file
        wrong = [line for line in wrong if not any(f" {type}." in f" {line}" for type in made.missing)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", CARRIERS, ids=lambda p: p.name)
def test_pictures_and_files_give_their_graph(path: Path, definitions: Any) -> None:
    found = read(path)
    assert found.workflow is not None
    made = to_prompt(Workflow.parse(found.workflow), definitions)
    if found.prompt is not None:
        wrong = difference(found.prompt, made.prompt, definitions)
        assert not wrong, "\n".join(wrong)
