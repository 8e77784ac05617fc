"""Every sampler with every scheduler, as KSampler runs them, on a net small enough to run them all."""

from __future__ import annotations

import pytest
import torch

import nodes
from backend.diffusion.ksample import ksample
from backend.diffusion.noise import flow_noise
from backend.diffusion.samplers import SAMPLERS
from backend.diffusion.schedules import SCHEDULERS
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from tests.diffusion.toy import cond, toy_model, toy_pool
from tests.graph.toys import n

PAIRS = [(sampler, scheduler) for sampler in SAMPLERS for scheduler in SCHEDULERS]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_with_every_scheduler(sampler: str) -> None:
    pool, empty = toy_pool(), {"samples": torch.zeros(1, 4, 4, 4)}
    for model in (toy_model(), toy_model(flow_noise(3.0))):
        for scheduler in SCHEDULERS:
            made = ksample(model, 3, 3, 2.0, sampler, scheduler, cond(1), cond(2), empty, pool=pool)["samples"]
            assert made.shape == (1, 4, 4, 4) and made.dtype == torch.float32, scheduler
            assert bool(torch.isfinite(made).all()) and float(made.std()) > 0, scheduler


def test_every_pair_is_accepted() -> None:
    assert len(PAIRS) == 42 * 9
    raw = {
        "model": n("CheckpointLoaderSimple", ckpt_name="any.safetensors"),
        "text": n("CLIPTextEncode", text="", clip=["model", 1]),
        "empty": n("EmptyLatentImage", width=64, height=64, batch_size=1),
    }
    for i, (sampler, scheduler) in enumerate(PAIRS):
        wires = {"model": ["model", 0], "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["empty", 0]}
        raw[f"k{i}"] = n("KSampler", **wires, seed=i, steps=3, cfg=2.0, denoise=1.0, sampler_name=sampler, scheduler=scheduler)
        raw[f"s{i}"] = n("PreviewAny", source=[f"k{i}", 0])
    checked = validate(Prompt.parse(raw), Registry(nodes.builtin()))
    assert checked.error is None and not checked.node_errors and len(checked.targets) == len(PAIRS)
