"""The published description of every node equals the ecosystem's: names, order, types, options, outputs, categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.graph.describe import object_info
from backend.graph.schema import Files, NodeType
from nodes import builtin

SHARED = Path(__file__).parents[2].parent / "shared"
SNAPSHOT = Path(__file__).with_name("object_info_facts.json")
PROSE = {"tooltip"}  # written by us, stripped from the reference
COMPLETE = (
    "nodes", "comfy_extras.nodes_custom_sampler", "comfy_extras.nodes_latent", "comfy_extras.nodes_images", "comfy_extras.nodes_mask",
    "comfy_extras.nodes_string", "comfy_extras.nodes_primitive", "comfy_extras.nodes_preview_any", "comfy_extras.nodes_model_advanced",
    "comfy_extras.nodes_rebatch", "comfy_extras.nodes_controlnet", "comfy_extras.nodes_model_merging", "comfy_extras.nodes_hypernetwork",
    "comfy_extras.nodes_model_merging_model_specific", "comfy_extras.nodes_compositing", "comfy_extras.nodes_post_processing",
    "comfy_extras.nodes_morphology",
)  # fmt: skip
# The reference publishes two tooltips for this node's one output: a quirk that no client can make use of.
QUIRKS = {("LoraLoaderModelOnly", "output_tooltips")}
# What these nodes got after the reference was written down, known from newer workflow files.
NEWER = {
    ("PreviewAny", "output"), ("PreviewAny", "output_is_list"), ("PreviewAny", "output_name"),
    ("FluxKontextMultiReferenceLatentMethod", "input"), ("MaskPreview", "output"), ("MaskPreview", "output_is_list"),
    ("MaskPreview", "output_name"),
    *((id, key) for id in ("SaveImage", "PreviewImage") for key in ("output", "output_is_list", "output_name")),
}  # fmt: skip


def choices(files: Files) -> list[str]:
    """What the reference lists on a machine without model files."""
    listed = ["example.png"] if files.kind == "input" and "image" in files.content else []
    return [*files.extra, *listed]


def plain(value: Any) -> Any:
    """Without prose."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in PROSE}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def described(t: NodeType) -> dict[str, Any]:
    info = plain(object_info(t, choices))
    info["description"] = ""
    if "output_tooltips" in info:
        info["output_tooltips"] = [None for _ in info["output_tooltips"]]
    for group in info["input"].values():
        for spec in group.values():
            if isinstance(spec[0], list) and len(spec) > 1 and "options" in spec[1] and not isinstance(spec[1]["options"], list):
                raise AssertionError("options must be a list")
    return json.loads(json.dumps(info))  # type: ignore[no-any-return]


def as_published(ours: dict[str, Any], key: str, theirs: dict[str, Any]) -> Any:
    """Without the words that files of later versions have in a loader's `type`; they follow the published ones."""
    mine = ours.get(key, "absent")
    if key != "input" or not ours["name"].endswith("CLIPLoader") or "type" not in mine["required"]:
        return mine
    (words,), (known,) = mine["required"]["type"], theirs["input"]["required"]["type"]
    return {**mine, "required": {**mine["required"], "type": [words[: len(known)]]}}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    found = []
    for key in sorted(ours.keys() | theirs.keys()):
        mine, other = as_published(ours, key, theirs), theirs.get(key, "absent")
        if (ours["name"], key) not in QUIRKS | NEWER and mine != other:
            found.append(f"{ours['name']}.{key}: ours {json.dumps(mine)} reference {json.dumps(other)}")
    return found


def reference() -> dict[str, Any]:
    file = SHARED / "object_info.json"
    if not file.exists():
        pytest.skip("the reference description is not beside this repository")
    return json.loads(file.read_text())  # type: ignore[no-any-return]


def test_every_node_is_described_as_in_the_reference() -> None:
    theirs = reference()
    found = [d for t in builtin() if t.id in theirs for d in differences(described(t), theirs[t.id])]
    assert not found, "\n".join(found)


def test_the_shelves_are_complete() -> None:
    ours = {t.id for t in builtin()}
    missing = [name for name, info in reference().items() if info["python_module"] in COMPLETE and name not in ours]
    assert not missing


def test_file_choices_come_from_the_right_folders() -> None:
    file = SHARED / "object_info_folder_inputs.json"
    if not file.exists():
        pytest.skip("the reference description is not beside this repository")
    ours = {t.id: t for t in builtin()}
    for name, inputs in json.loads(file.read_text()).items():
        for input_name, kinds in inputs.items():
            if name in ours:
                declared = ours[name].by_name[input_name]
                kind = (declared.options or {}).get("options") if declared.kind == "COMBO" else declared.kind
                assert isinstance(kind, Files), f"{name}.{input_name} lists no folder"
                assert kind.kind in kinds, f"{name}.{input_name} lists {kind.kind}, not one of {kinds}"


@pytest.mark.parametrize("name", sorted(json.loads(SNAPSHOT.read_text())))
def test_facts_kept_with_the_tests(name: str) -> None:
    """A few facts, written down here so that the check means something where the whole reference is absent."""
    facts = json.loads(SNAPSHOT.read_text())[name]
    ours = {t.id: t for t in builtin()}
    assert not differences(described(ours[name]), facts)


def test_every_node_is_documented() -> None:
    undocumented = [t.id for t in builtin() if not t.description.strip()]
    assert not undocumented
