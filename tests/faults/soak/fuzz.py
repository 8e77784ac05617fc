"""Damaged and hostile inputs to the readers. `python -m tests.faults.soak.fuzz --minutes 60` for the long run.

Sound examples are changed at random (bytes flipped, cut, spliced, lengths made huge; values of documents replaced, moved, nested) and
given to the reader. It may accept, or refuse with a Problem, which is a sentence; any other exception is a fault, and so is a read that
takes long. Every input comes from a number, so that a fault can be repeated.
"""

from __future__ import annotations

import argparse
import copy
import functools
import io
import json
import random
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from backend.base.errors import Problem
from backend.base.jsonable import dumps, loads
from backend.base.paths import Folders
from backend.graph.choices import FolderChoices
from backend.graph.describe import object_info
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from backend.imaging import picture
from backend.storage.images import exif_of, open_image, read_texts, save_png
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from backend.workflow import metadata
from backend.workflow.document import Workflow
from backend.workflow.to_prompt import to_prompt
from nodes import builtin

ROOT = Path(__file__).resolve().parents[3]
LONGEST_S = 20.0
Read = Callable[[bytes, Path], None]
INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**400, -1e308, "", "0", "a" * 5000, "\0", "../../etc/passwd", "%date:yyyy%", "{a|b}",
    "\ud800", [], {}, [[]], ["1", 0], ["1", -1], ["0", 10**9], [None, None],
    {"__value__": [1]}, {"__value__": {"__value__": []}}, "__proto__",
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few faults in them."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(made) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(made):
            made[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del made[at:]
        elif kind == 3:
            del made[at : at + rng.choice((1, 4, 64))]
        elif kind == 4:
            made[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
        elif kind == 5:
            other = rng.randrange(len(made) + 1)
            made[at:at] = made[other : other + rng.choice((4, 64, 1024))]
        else:
            form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
            size = struct.calcsize(form)
            made[at : at + size] = struct.pack(form, rng.choice(INTEGERS) & (2 ** (8 * size) - 1))
    return bytes(made)


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: container and key."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        for key in list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ():
            yield one, key
            waiting.append(one[key])


def twist(document: Any, rng: random.Random) -> Any:
    """A document with a few values replaced, removed, doubled, moved or nested."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = list(spots(made))
        if not places:
            return made
        where, key = rng.choice(places)
        other, name = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0 and isinstance(where, dict):
            del where[key]
        elif kind == 1 and isinstance(where, list):
            where.insert(key, copy.deepcopy(where[key]))
        elif kind == 2:
            where[key] = copy.deepcopy(other[name])
        elif kind == 3:
            for _ in range(rng.choice((1, 3, 150, 300))):
                where[key] = [where[key]] if rng.random() < 0.5 else {"x": where[key]}
            return made  # what is copied again and again soon is too deep to be written
        elif kind == 4 and isinstance(where, dict):
            where[str(rng.choice(VALUES))[:5000]] = where.pop(key)
        else:
            where[key] = copy.deepcopy(rng.choice(VALUES))
    return made


def _pictures() -> list[bytes]:
    from PIL import Image

    texts = {"prompt": dumps({"1": {"class_type": "A", "inputs": {}}}), "workflow": dumps({"nodes": [], "links": []})}
    image, found = Image.effect_noise((9, 7), 50).convert("RGB"), []
    for form, options in (("WEBP", {"exif": exif_of(texts)}), ("JPEG", {"exif": exif_of(texts)}), ("GIF", {}), ("TIFF", {}), ("BMP", {})):
        file = io.BytesIO()
        image.save(file, form, **options)
        found.append(file.getvalue())
    file = io.BytesIO()
    save_png(file, image, texts)
    frames = io.BytesIO()
    image.save(frames, "PNG", save_all=True, append_images=[image.rotate(90, expand=False)], duration=9)
    return [file.getvalue(), frames.getvalue(), *found]


def read_picture(data: bytes, home: Path) -> None:
    path = home / "a.png"
    path.write_bytes(data)
    for read in (read_texts, metadata.read, _pixels):
        try:
            read(path)
        except Problem as problem:
            last: Problem | None = problem
        else:
            last = None
    if last is not None:
        raise last


def _pixels(path: Path) -> None:
    from backend.storage.images import reencode

    open_image(path, 1_000_000).close()
    picture.read_picture(path, 1_000_000)
    reencode(path, "webp", 60)


def _weights(home: Path) -> list[bytes]:
    path = home / "seed.safetensors"
    save_safetensors(path, {"a.weight": torch.ones(3, 2), "b": torch.zeros(5, dtype=torch.float16)}, {"format": "pt"})
    found = [path.read_bytes()]
    for old in (False, True):
        file = io.BytesIO()
        torch.save({"state_dict": {"a": torch.ones(3), "n": 3}, "epoch": 1}, file, _use_new_zipfile_serialization=not old)
        found.append(file.getvalue())
    return found


def read_weights(data: bytes, home: Path) -> None:
    path = home / "a.safetensors"
    path.write_bytes(data)
    file = open_weights(path)
    for key in file:
        file.tensor(key).clone()


@functools.cache
def registry() -> Registry:
    return Registry(builtin())


@functools.cache
def folders() -> Folders:
    return Folders.of(ROOT)


@functools.cache
def definitions() -> dict[str, Any]:
    return {id: object_info(t, lambda files: ["a.png"]) for id, t in registry().items()}


def _prompts() -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted((ROOT / "web" / "templates").glob("*.json"))[:40]] + [
        json.loads((ROOT / "web" / "default_graph.json").read_text())
    ]


def read_prompt(data: bytes, home: Path) -> None:
    prompt = Prompt.parse(loads(data))
    checked = validate(prompt, registry(), choices=FolderChoices(folders()))
    dumps([checked.node_errors, checked.error, checked.prompt.to_json()])


def read_workflow(data: bytes, home: Path) -> None:
    converted = to_prompt(Workflow.parse(loads(data)), definitions())
    dumps([converted.prompt, converted.notes])


class Target:
    """A reader with the examples that are changed for it."""

    def __init__(self, read: Read, examples: list[bytes], documents: list[Any] | None = None) -> None:
        self.read, self.examples, self.documents = read, examples, documents or []

    def input(self, number: int) -> bytes:
        """The input of this number."""
        rng = random.Random(number)
        if self.documents and rng.random() < 0.8:
            return json.dumps(twist(rng.choice(self.documents), rng)).encode()
        return mutate(rng.choice(self.examples), rng)


def targets(home: Path) -> dict[str, Target]:
    prompts = [d for d in _prompts() if "nodes" not in d]
    workflows = [d for d in _prompts() if "nodes" in d] + [_small_workflow()]
    as_bytes = [[json.dumps(d).encode() for d in group] for group in (prompts, workflows)]
    return {
        "picture": Target(read_picture, _pictures()),
        "weights": Target(read_weights, _weights(home)),
        "prompt": Target(read_prompt, as_bytes[0], prompts),
        "workflow": Target(read_workflow, as_bytes[1], workflows),
    }


def _small_workflow() -> Any:
    return {
        "version": 0.4,
        "last_node_id": 3,
        "last_link_id": 1,
        "nodes": [
            {"id": 1, "type": "EmptyLatentImage", "widgets_values": [64, 64, 1], "outputs": [{"name": "LATENT", "links": [1]}]},
            {"id": 2, "type": "Reroute", "inputs": [{"name": "", "link": 1}], "outputs": [{"name": "", "links": [2]}]},
            {"id": 3, "type": "SaveLatent", "inputs": [{"name": "samples", "link": 2}], "widgets_values": ["x"], "mode": 0},
        ],
        "links": [[1, 1, 0, 2, 0, "LATENT"], [2, 2, 0, 3, 0, "LATENT"]],
        "groups": [{"title": "g", "bounding": [0, 0, 9, 9]}],
    }


def attack(name: str, target: Target, number: int, home: Path) -> str:
    """Hand over one input: "accepted" or "refused". Raises AssertionError naming it otherwise."""
    data = target.input(number)
    began = time.process_time()
    try:
        target.read(data, home)
        answer = "accepted"
    except Problem as problem:
        answer = "refused" if str(problem) else "refused without a word"
    except Exception as error:
        raise AssertionError(f"{name} {number}: {type(error).__name__}: {error}") from error
    assert answer != "refused without a word", f"{name} {number}: {answer}"
    assert time.process_time() - began < LONGEST_S, f"{name} {number} took {time.process_time() - began:.0f} s"
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=1_000_000, help="number of the first input")
    parser.add_argument("--only", nargs="*", help="of these readers")
    options = parser.parse_args()
    counts, faults, until, number = Counter[str](), list[str](), time.monotonic() + options.minutes * 60, options.first
    with tempfile.TemporaryDirectory() as home:
        chosen = {name: t for name, t in targets(Path(home)).items() if not options.only or name in options.only}
        while time.monotonic() < until:
            for name, target in chosen.items():
                try:
                    counts[f"{name} {attack(name, target, number, Path(home))}"] += 1
                except AssertionError as fault:
                    faults.append(str(fault))
                    print(fault, flush=True)
            number += 1
    print(json.dumps({"minutes": options.minutes, **counts, "faults": len(faults)}))


if __name__ == "__main__":
    main()
