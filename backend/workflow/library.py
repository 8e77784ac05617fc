"""Model files that a graph names, found on this machine: by name, then by hash, then anywhere in the library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backend.workflow.document import Json

ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx")
_HASH = re.compile("[0-9a-f]{10,64}")


@dataclass(frozen=True)
class Chosen:
    """What became of one file name. `how`: "name" (another folder or spelling), "hash", "nowhere"; `note` is a sentence."""

    node: str
    input: str
    wanted: str
    chosen: str | None
    how: str
    note: str


class Library(Protocol):
    """The model files of a machine."""

    def names(self, type: str, input: str) -> Sequence[str] | None:
        """What an input offers; None when it is no choice of model files."""

    def by_hash(self, type: str, input: str, digest: str) -> tuple[str | None, bool]:
        """The offered file whose SHA-256 begins so, and whether all of them were compared."""

    def elsewhere(self, name: str) -> Sequence[str]:
        """Places of files of that name (without folder) that other inputs offer, for a sentence."""


def hashes_of(workflow: Any) -> dict[str, str]:
    """File name (without folder, lower case) -> SHA-256 or its beginning, as the nodes of an editor workflow say in `properties.models`."""
    found = {}
    for about in _abouts(workflow):
        name, value = about.get("name"), str(about.get("hash")).lower()
        is_sha256 = str(about.get("hash_type", "SHA256")).upper().replace("-", "") == "SHA256"
        if isinstance(name, str) and is_sha256 and _HASH.fullmatch(value):
            found[_base(name)] = value
    return found


def _abouts(workflow: Any) -> Iterator[Mapping[str, Any]]:
    graphs = [workflow] if isinstance(workflow, Mapping) else []
    definitions = graphs[0].get("definitions") if graphs else None
    inner = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    graphs += [g for g in inner if isinstance(g, Mapping)] if isinstance(inner, list) else []
    for graph in graphs:
        nodes = graph.get("nodes")
        for node in nodes if isinstance(nodes, list) else ():
            properties = node.get("properties") if isinstance(node, Mapping) else None
            models = properties.get("models") if isinstance(properties, Mapping) else None
            yield from (m for m in models if isinstance(m, Mapping)) if isinstance(models, list) else ()


def _base(name: str) -> str:
    return re.split(r"[/\\]", name)[-1].lower()


def located(prompt: Json, library: Library, hashes: Mapping[str, str]) -> tuple[Json, list[Chosen]]:
    """`prompt` with the names of model files that are here under other names, and what was chosen for each that was not as it was.

    A name that nothing answers to is left as it is.
    """
    made, report = dict(prompt), []
    for id, body in prompt.items():
        inputs = body.get("inputs") if isinstance(body, Mapping) else None
        if not isinstance(inputs, Mapping):
            continue
        for input, value in inputs.items():
            if not isinstance(value, str) or not value.lower().endswith(ENDINGS):
                continue
            names = library.names(str(body.get("class_type")), input)
            if names is None or value in names:
                continue
            about = _find(id, str(body.get("class_type")), input, value, names, library, hashes.get(_base(value)))
            report.append(about)
            if about.chosen is not None:
                made[id] = {**made[id], "inputs": {**made[id]["inputs"], input: about.chosen}}
    return made, report


def _find(id: str, type: str, input: str, value: str, names: Sequence[str], library: Library, digest: str | None) -> Chosen:
    same = [name for name in names if name.replace("\\", "/").lower() == value.replace("\\", "/").lower()]
    if same:
        return Chosen(id, input, value, same[0], "name", f"{value} is {same[0]} here.")
    complete = True
    if digest is not None:
        by_hash, complete = library.by_hash(type, input, digest)
        if by_hash is not None:
            return Chosen(id, input, value, by_hash, "hash", f"{by_hash} has the hash of {value} and is used for it.")
    alike = sorted(name for name in names if _base(name) == _base(value))
    if alike:
        others = f" There is also {', '.join(alike[1:4])}." if len(alike) > 1 else ""
        return Chosen(id, input, value, alike[0], "name", f"{value} lies in another folder: {alike[0]} is used.{others}")
    places = library.elsewhere(_base(value))
    if places:
        note = (
            f"{value} is not among the files of `{input}`, but there is {', '.join(places[:3])}: move or link it to where it is looked for."
        )
    else:
        note = f"There is no file {value} for `{input}`."
    if not complete:
        note += " Not every file could be compared by its hash in time; try again for the rest."
    return Chosen(id, input, value, None, "nowhere", note)
