"""One installation with node packs, as a worker process has it: packs are imported, graphs validated and run through the executor."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent
from typing import Any

import torch

from backend.base.errors import Problem
from backend.engine.executor import Executor, Outcome
from backend.engine.job import Job
from backend.graph.choices import FolderChoices
from backend.graph.document import Prompt
from backend.graph.validate import validate
from backend.packs import importer
from backend.packs.complete import complete, note_clashes
from backend.packs.host import HOST
from backend.packs.loader import load_packs
from tests.nodes.bench import Bench

MODELLED = Path(__file__).parent / "modelled"


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


class Home:
    """Put packs in, `start`, then `run` graphs."""

    def __init__(self, root: Path) -> None:
        self.bench = Bench(root)
        self.packs_at = root / "custom_nodes"
        self.packs_at.mkdir()
        (root / "models" / "checkpoints").mkdir(parents=True)
        HOST.reset()
        HOST.services = self.bench.services
        HOST.emit = lambda job, event: self.bench.events.append(event)

    def add(self, name: str) -> None:
        """A pack of those kept beside the tests."""
        shutil.copytree(MODELLED / name, self.packs_at / name)

    def write(self, name: str, text: str) -> None:
        file = self.packs_at / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))

    def start(self) -> None:
        importer.install()
        self.loaded = load_packs(self.bench.folders, self.bench.services.settings)
        note_clashes(self.loaded.packs)
        self.registry = complete(self.loaded.types)
        self.executor = Executor(self.registry, self.bench.events.append, services=self.bench.services, around=torch.inference_mode)

    def check(self, graph: dict[str, Any]) -> Any:
        return validate(Prompt.parse(graph), self.registry, choices=FolderChoices(self.bench.folders))

    def run(self, graph: dict[str, Any], **extra: Any) -> Outcome:
        checked = self.check(graph)
        assert checked.error is None and not checked.node_errors, (checked.error, checked.node_errors)
        self.bench.events.clear()
        return self.executor.run(Job("job", checked.prompt, tuple(checked.targets), extra))

    def ran(self, graph: dict[str, Any], **extra: Any) -> Outcome:
        """Run a graph that must succeed."""
        outcome = self.run(graph, **extra)
        assert outcome.status == "success", outcome.error
        return outcome

    def results(self, id: str) -> list[list[Any]]:
        """The kept outputs of a node of the last run."""
        trace = self.executor._trace
        found = self.executor.cache.get(trace.digests[id])
        assert found is not None
        return found.outputs

    def shown(self, id: str) -> dict[str, Any]:
        from backend.base.events import NodeShown

        found = [e for e in self.bench.events if isinstance(e, NodeShown) and e.node == id]
        return dict(found[-1].output or {}) if found else {}

    def of(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.bench.events if isinstance(e, kind)]

    def model(self) -> None:
        """The small checkpoint that ships, as tiny.safetensors."""
        shipped = Path(__file__).parents[2] / "models" / "checkpoints" / "emulsion-tiny.safetensors"
        (self.bench.folders.models / "checkpoints" / "tiny.safetensors").symlink_to(shipped)


def sampled(**sampler: Any) -> dict[str, Any]:
    """A graph from checkpoint to latent; the sampler is "5". `model` may be another link."""
    settings = {
        "seed": 1,
        "steps": 3,
        "cfg": 2.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["1", 0],
        **sampler,
    }
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "2": node("CLIPTextEncode", text="a star", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "5": node("KSampler", positive=["2", 0], negative=["3", 0], latent_image=["4", 0], **settings),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("PreviewImage", images=["6", 0]),
    }


__all__ = ["HOST", "Home", "Problem", "node", "sampled"]
