"""Adapters are learnt: the loss falls, what comes out is a file that changes the model as the training saw it, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput, Interrupted
from backend.diffusion import training
from backend.diffusion.handle import ModelHandle
from backend.diffusion.ksample import ksample
from backend.diffusion.training import Plan, train
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from backend.weights import lora
from backend.weights.held import Held
from tests.families.tiny import make, services

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelHandle:
    home = tmp_path_factory.mktemp("tiny")
    found = load_checkpoint(make().single(home / "tiny.safetensors"), services(home)).model
    assert found is not None
    return found


def data(count: int = 2) -> tuple[Tensor, list[Any]]:
    random = torch.Generator().manual_seed(3)
    return torch.randn(count, 4, 8, 8, generator=random) * 5, [[torch.randn(1, 77, 64, generator=random), {}] for _ in range(count)]


@pytest.mark.parametrize("algorithm", training.ALGORITHMS)
def test_what_is_learnt(model: ModelHandle, algorithm: str) -> None:
    latents, texts = data()
    before = {name: value.clone() for name, value in model.loadable.source.items() if "to_q" in name}
    plan = Plan(steps=8, batch=2, rate=0.02 if algorithm != "OFT" else 0.05, rank=4, algorithm=algorithm, seed=1)
    with torch.inference_mode():  # as nodes may run
        made = train(model, latents, texts, plan, CPU)
    assert len(made.losses) == 8 and sum(made.losses[-3:]) < 0.95 * sum(made.losses[:3])
    changed, _, report = lora.apply(model, None, Held(made.tensors))
    assert changed is not None and report.model > 80 and not report.unmatched
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    pictures = [
        ksample(m, 1, 2, 1.0, "euler", "normal", texts[:1], texts[:1], latent, pool=Pool("cpu"))["samples"] for m in (model, changed)
    ]
    assert (pictures[0] - pictures[1]).abs().max() > 0.01
    assert all(torch.equal(value, before[name]) for name, value in model.loadable.source.items() if name in before)


def test_the_first_loss_is_that_of_the_model_and_training_goes_on_where_it_stopped(model: ModelHandle) -> None:
    latents, texts = data()
    plan = Plan(steps=3, rate=0.01, rank=2, seed=5)
    losses = [train(model, latents, texts, replace(plan, algorithm=name, steps=1), CPU).losses[0] for name in training.ALGORITHMS]
    whole = train(model, latents, texts, replace(plan, checkpointed=False), CPU)
    assert losses == pytest.approx([whole.losses[0]] * 4, rel=1e-4)
    assert train(model, latents, texts, plan, CPU).losses == pytest.approx(whole.losses, rel=1e-4)
    again = train(model, latents, texts, replace(plan, rate=1e-12), CPU, begin=whole.tensors)
    assert all(torch.allclose(again.tensors[key], value, atol=1e-6) for key, value in whole.tensors.items())
    with pytest.raises(BadInput, match="another kind or rank"):
        train(model, latents, texts, replace(plan, rank=3), CPU, begin=whole.tensors)


def test_one_text_for_all_and_what_does_not_fit(model: ModelHandle) -> None:
    latents, texts = data(3)
    plan = Plan(steps=1, batch=3, accumulate=2, optimizer="SGD", loss="Huber")
    assert len(train(model, latents, texts[:1], plan, CPU).losses) == 1
    half = replace(plan, batch=1, accumulate=1, dtype=torch.bfloat16)
    assert train(model, latents, texts, half, CPU).losses == pytest.approx(
        train(model, latents, texts, replace(half, dtype=torch.float32), CPU).losses, rel=0.05
    )
    longer = [texts[0], [torch.randn(1, 154, 64), {}], texts[2]]
    assert len(train(model, latents, longer, plan, CPU).losses) == 1
    with pytest.raises(BadInput, match="3 latents and 2 texts"):
        train(model, latents, texts[:2], plan, CPU)

    def stop(step: int, loss: float) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        train(model, latents, texts, plan, CPU, on_step=stop)
