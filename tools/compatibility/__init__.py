"""How much of a collection of real workflows works here: opened, converted, validated apart from model files that are absent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.base.errors import Problem
from backend.graph.describe import object_info
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.schema import Files
from backend.graph.validate import validate
from backend.workflow.document import Workflow
from backend.workflow.metadata import read
from backend.workflow.to_prompt import to_prompt
from nodes import builtin

MEDIA = ("image", "video", "audio", "3D")
_SIGNS = {
    "3D": ("3d", "trellis", "mesh"),
    "audio": ("audio", "music", "ace_step", "stable_audio"),
    "video": ("video", "ltx", "wan", "mochi", "cosmos", "hunyuan_video", "svd"),
}
_ENDS = {
    "3D": {"SaveGLB", "Preview3D", "Preview3DAdvanced", "Save3DAdvanced", "Load3D"},
    "video": {"SaveVideo", "SaveWEBM", "CreateVideo", "SaveAnimatedWEBP", "SaveAnimatedPNG"},
    "audio": {"SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "PreviewAudio"},
}


@dataclass
class Verdict:
    """What became of one file. `problems` are sentences about what is neither an absent model nor an unknown type."""

    name: str
    medium: str = "image"
    types: Counter[str] = field(default_factory=Counter)
    missing: tuple[str, ...] = ()
    opened: bool = False
    converted: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Once its model files are there."""
        return self.converted and not self.missing and not self.problems


class EverySort:
    """File choices of a library that has every model and picture."""

    def __call__(self, files: Files) -> list[str]:
        return list(files.extra)

    def accepts(self, files: Files, value: str) -> bool:
        return True

    def refusal(self, prefix: str) -> str:
        return ""


def survey(folder: Path) -> list[Verdict]:
    """A verdict for every editor workflow (`*.workflow.json`) of a folder."""
    registry = Registry(builtin())
    definitions = {id: object_info(t, EverySort()) for id, t in registry.items()}
    return [judged(path, registry, definitions) for path in sorted(folder.glob("*.workflow.json"))]


def judged(path: Path, registry: Registry, definitions: Mapping[str, Any]) -> Verdict:
    """Open, convert and validate one file."""
    verdict = Verdict(path.name.removesuffix(".workflow.json"))
    try:
        workflow = Workflow.parse(read(path).workflow)
        verdict.opened = workflow.to_json() == json.loads(path.read_text("utf-8"))
        made = to_prompt(workflow, definitions)
        verdict.converted = True
    except Problem as problem:
        verdict.problems.append(str(problem))
        return verdict
    verdict.types = Counter(str(body["class_type"]) for body in made.prompt.values())
    verdict.medium = _medium(verdict)
    verdict.missing = tuple(sorted(made.missing))
    if not verdict.missing and made.prompt:
        verdict.problems += _problems(Prompt.parse(made.prompt), registry)
    return verdict


def _problems(prompt: Prompt, registry: Registry) -> list[str]:
    checked = validate(prompt, registry, choices=EverySort(), ask=lambda questions: [None for _ in questions])
    found = [] if checked.error is None or checked.node_errors else [f"{checked.error['message']} {checked.error['details']}"]
    for id, about in checked.node_errors.items():
        found += [f"node {id} ({about['class_type']}): {e['message']}: {e['details']}" for e in about["errors"]]
    return found


def _medium(verdict: Verdict) -> str:
    """By what the graph saves, then by its name."""
    for medium in ("3D", "video", "audio"):
        if _ENDS[medium] & verdict.types.keys():
            return medium
    name = verdict.name.lower()
    return next((medium for medium, signs in _SIGNS.items() if any(sign in name for sign in signs)), "image")


def lacking(verdicts: Iterable[Verdict]) -> Counter[str]:
    """Node types that are not here, with the number of files that use them."""
    return Counter(type for verdict in verdicts for type in verdict.missing)
