"""Small workflows and node definitions for the tests of this room."""

from __future__ import annotations

from typing import Any

from backend.workflow.document import Workflow
from backend.workflow.to_prompt import Converted, to_prompt

SEED = ["INT", {"default": 0, "control_after_generate": True}]


def definition(required: dict[str, Any], optional: dict[str, Any] | None = None, output: list[str] | None = None) -> dict[str, Any]:
    """An entry of /object_info."""
    return {"input": {"required": required, "optional": optional or {}}, "output": output or [], "output_name": output or []}


DEFINITIONS: dict[str, Any] = {
    "Load": definition({"name": [["a", "b"]]}, output=["MODEL", "CLIP"]),
    "Text": definition({"clip": ["CLIP"], "text": ["STRING", {"dynamicPrompts": True}]}, output=["COND"]),
    "Sample": definition(
        {"model": ["MODEL"], "seed": SEED, "steps": ["INT", {"default": 20}], "cfg": ["FLOAT", {"default": 8.0}], "cond": ["COND"]},
        {"sampler_name": ["COMBO", {"options": ["euler", "lcm"]}]},
        ["LATENT"],
    ),
    "Patch": definition({"model": ["MODEL"], "strength": ["FLOAT", {"default": 1.0}]}, output=["MODEL"]),
    "SaveImage": definition({"images": ["LATENT"], "filename_prefix": ["STRING", {"default": "x"}]}),
    "Upload": definition({"image": [["p.png"], {"image_upload": True}], "list": ["STRING", {"forceInput": True}]}, output=["IMAGE"]),
}


def node(id: int | str, type: str, inputs: Any = (), outputs: Any = (), values: Any = None, mode: int = 0, **more: Any) -> dict[str, Any]:
    """A node; inputs are (name, type, link) or (name, type, link, widget)."""
    sockets = [{"name": i[0], "type": i[1], "link": i[2], **({"widget": {"name": i[3]}} if len(i) > 3 else {})} for i in inputs]
    out = [{"name": o, "type": o, "links": []} for o in outputs]
    made = {"id": id, "type": type, "mode": mode, "inputs": sockets, "outputs": out, **more}
    if values is not None:
        made["widgets_values"] = values
    return made


def workflow(nodes: list[Any], links: list[Any], subgraphs: list[Any] | None = None, **extra: Any) -> dict[str, Any]:
    """A file of version 0.4."""
    return {"version": 0.4, "nodes": nodes, "links": links, "definitions": {"subgraphs": subgraphs or []}, "extra": extra}


def subgraph(id: str, nodes: list[Any], links: list[Any], inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """A definition; links as arrays, written as the objects of version 1."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    written = [dict(zip(keys, [*link, "*"][:6], strict=True)) for link in links]
    sockets = [[{"id": name, "name": name, "type": "*"} for name in names] for names in (inputs, outputs)]
    return {"id": id, "name": id, "version": 1, "nodes": nodes, "links": written, "inputs": sockets[0], "outputs": sockets[1]}


def convert(raw: dict[str, Any], **options: Any) -> Converted:
    """The conversion with the definitions of this file."""
    return to_prompt(Workflow.parse(raw), DEFINITIONS, **options)


def inputs(raw: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The inputs of every node of the prompt."""
    return {id: body["inputs"] for id, body in convert(raw, **options).prompt.items()}
