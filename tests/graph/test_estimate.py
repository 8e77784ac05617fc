from __future__ import annotations

from typing import Any

import pytest

import nodes
from backend.base.errors import BadInput
from backend.graph.document import Prompt
from backend.graph.estimate import largest, refuse_impossible, sizing
from backend.graph.registry import Registry

GIB = 2**30


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(nodes.builtin())


def prompt(**graph: tuple[str, dict[str, Any]]) -> Prompt:
    return Prompt.parse({id: {"class_type": type, "inputs": inputs} for id, (type, inputs) in graph.items()})


def latent(width: int, height: int, batch: int = 1) -> tuple[str, dict[str, Any]]:
    return "EmptyLatentImage", {"width": width, "height": height, "batch_size": batch}


def test_sizes_flow_to_the_largest_result(registry: Registry) -> None:
    graph = prompt(
        a=latent(1024, 512, 2),
        b=("RepeatLatentBatch", {"samples": ["a", 0], "amount": 3}),
        c=("LatentUpscaleBy", {"samples": ["b", 0], "upscale_method": "bilinear", "scale_by": 2.0}),
        d=("VAEDecode", {"samples": ["c", 0], "vae": ["x", 0]}),
    )
    found = largest(graph, registry)
    assert found is not None
    assert (found.node, found.kind, found.size.width, found.size.height, found.size.batch) == ("d", "IMAGE", 2048, 1024, 6)
    assert found.bytes == 2048 * 1024 * 6 * 12


@pytest.mark.parametrize(
    ("graph", "fits"),
    [
        (prompt(a=latent(1024, 1024, 64)), True),
        (prompt(a=latent(100_000, 100_000)), True),
        (prompt(a=latent(100_000, 100_000, 100)), False),
        (prompt(a=latent(512, 512, 1_000_000_000)), False),
        (prompt(a=("EmptyImage", {"width": 16384, "height": 16384, "batch_size": 64, "color": 0})), False),
        (prompt(a=latent(64, 64), b=("RepeatLatentBatch", {"samples": ["a", 0], "amount": 64})), True),
        (
            prompt(a=latent(8192, 8192), b=("VAEDecode", {"samples": ["a", 0]}), c=("ImageScaleBy", {"image": ["b", 0], "scale_by": 8})),
            False,
        ),
        (prompt(a=latent(64, 64), b=("ImageScaleToTotalPixels", {"image": ["a", 0], "megapixels": 100_000.0})), False),
        (prompt(a=("LatentUpscaleBy", {"samples": ["a", 0], "scale_by": 1e9})), True),  # a loop: validation says so
        (prompt(a=("Unknown", {"width": 1e9, "height": 1e9})), True),
        (prompt(a=("CLIPTextEncodeSDXL", {"width": 10**9, "height": 10**9})), True),
        (prompt(a=("EmptyLatentImage", {"width": True, "height": "x", "batch_size": ["b", 0]})), True),
    ],
)
def test_what_cannot_fit_is_refused_with_its_numbers(registry: Registry, graph: Prompt, fits: bool) -> None:
    names = sizing(registry.values())
    refuse_impossible(graph, registry, names, 0)
    if fits:
        refuse_impossible(graph, registry, names, 32 * GIB)
        return
    with pytest.raises(BadInput, match=r"GiB, and this machine has 32\.0 GiB") as caught:
        refuse_impossible(graph, registry, names, 32 * GIB)
    assert caught.value.where.node is not None


def test_long_chains_cost_linear_time(registry: Registry) -> None:
    graph = {"0": latent(8192, 8192, 4096)} | {str(n): ("LatentFlip", {"samples": [str(n - 1), 0]}) for n in range(1, 20_000)}
    with pytest.raises(BadInput):
        refuse_impossible(prompt(**graph), registry, sizing(registry.values()), GIB)
