"""Workflows inside pictures, recordings and models. Containers are walked part by part; pixels, sound and weights are never decoded.

Where they are: PNG text chunks (tEXt, zTXt, iTXt) and the `comf` chunk of animated PNG; EXIF of WebP as `key:json`; comments of FLAC and
Ogg; tags of MP3, MP4 and WebM; a JSON object in the `<metadata>` of SVG; `asset.extras` of GLB; `__metadata__` of safetensors files; JSON.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from backend.base.errors import BadFile, MissingFile
from backend.base.jsonable import depth_exceeds
from backend.workflow import containers, recordings
from backend.workflow.containers import MOST_TEXT, Damaged, Texts
from backend.workflow.document import MOST_DEPTH, Json, is_editor_form, is_prompt_form

MOST_JSON = 100 << 20
_HINT = "Pictures lose it when they are edited, or sent through a service that strips them."


@dataclass(frozen=True)
class Embedded:
    """What a file holds: either form or both. `texts` are all its notes by name, as text."""

    prompt: Json | None
    workflow: Json | None
    texts: Mapping[str, str]


def read(path: Path) -> Embedded:
    """The workflow in a file. Raises MissingFile, or BadFile saying what the file is and what it lacks."""
    try:
        with open(path, "rb") as file:
            return read_file(file, path.name)
    except FileNotFoundError as error:
        raise MissingFile(f"There is no file {path}.", file=path) from error
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.", file=path) from error
    except BadFile as error:
        raise error.at(file=path) from error.__cause__


def read_bytes(data: bytes, name: str = "The file") -> Embedded:
    """The workflow in the bytes of a file. Raises BadFile."""
    return read_file(io.BytesIO(data), name)


def read_file(file: BinaryIO, name: str) -> Embedded:
    """The workflow in an open file, which must be able to seek. Raises BadFile."""
    head = file.read(64)
    for kind, matches, reader in (*containers.READERS, *recordings.READERS):
        if matches(head):
            file.seek(0)
            try:
                texts = reader(file)
            except Damaged as error:
                raise BadFile(f"{name} is damaged: {error}.", hint="Copy or download the file again.") from error
            return _of_texts(texts, f"{name} is {kind}")
    if b"\0" in head or not head:
        hint = "Use JSON, PNG, WebP, SVG, FLAC, MP3, Ogg, MP4, WebM, GLB or safetensors."
        raise BadFile(f"{name} is of no kind that can hold a workflow." if head else f"{name} is empty.", hint=hint)
    file.seek(0)
    data = file.read(MOST_JSON + 1)
    if len(data) > MOST_JSON:
        raise BadFile(f"{name} has more than {MOST_JSON >> 20} MB of JSON.", hint="No workflow is that large.")
    return of_json(parse(data, name), name)


def of_json(found: Any, name: str = "The document") -> Embedded:
    """The workflow in a JSON document: either form, or an object with `prompt`, `workflow` or both. Raises BadFile."""
    if is_editor_form(found):
        return Embedded(None, found, {})
    if is_prompt_form(found):
        return Embedded(_clean(found), None, {})
    if isinstance(found, dict):
        prompt, workflow = found.get("prompt"), found.get("workflow")
        if is_editor_form(prompt) and workflow is None:
            prompt, workflow = None, prompt
        prompt = _clean(prompt) if isinstance(prompt, dict) and is_prompt_form(prompt) else None
        workflow = workflow if is_editor_form(workflow) else None
        if prompt is not None or workflow is not None:
            return Embedded(prompt, workflow, {})
    hint = 'A prompt looks like {"1": {"class_type": ...}}, an editor workflow like {"nodes": [...], "links": [...]}.'
    raise BadFile(f"{name} is not a graph: it is neither a prompt in API format nor an editor workflow.", hint=hint)


def _of_texts(texts: Texts, what: str) -> Embedded:
    prompt = _form(texts.get("prompt"), is_prompt_form, f"{what} with a prompt that")
    workflow = _form(texts.get("workflow"), is_editor_form, f"{what} with a workflow that")
    if prompt is None and workflow is None:
        more = " It holds generation parameters as text, which are no graph." if "parameters" in texts else ""
        raise BadFile(f"{what} without a workflow in it.{more}", hint=_HINT)
    return Embedded(None if prompt is None else _clean(prompt), workflow, texts)


def _form(text: str | None, fits: Any, what: str) -> Json | None:
    if text is None or not text.strip() or text.strip() in ("null", "{}"):
        return None
    found = parse(text, what)
    if fits(found):
        return dict(found)
    raise BadFile(f"{what} is no graph.", hint="Save the picture again with its workflow.")


def parse(text: str | bytes, name: str) -> Any:
    """JSON as other programs write it: NaN and infinities (fingerprints of nodes) become null. Raises BadFile."""
    try:
        found = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except RecursionError as error:
        raise BadFile(f"{name} is JSON nested deeper than {MOST_DEPTH} levels.", hint="No workflow is.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadFile(f"{name} is not JSON: {error.msg} at {place}.", hint="It may be cut off.") from error
    except ValueError as error:  # bytes that are no text, a number of thousands of digits
        raise BadFile(f"{name} is not JSON: {str(error)[:200]}.", hint="It may be damaged.") from error
    if depth_exceeds(found, MOST_DEPTH):
        raise BadFile(f"{name} is JSON nested deeper than {MOST_DEPTH} levels.", hint="No workflow is.")
    return found


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _clean(prompt: Json) -> Json:
    """Without the fingerprints of the files of another time and machine, which would be trusted."""
    return {id: {k: v for k, v in node.items() if k != "is_changed"} for id, node in prompt.items()}


__all__ = ["MOST_JSON", "MOST_TEXT", "Embedded", "of_json", "parse", "read", "read_bytes", "read_file"]
