"""How many conditions are predicted at once where memory is short, on an SD 1 net of two levels."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.diffusion.handle import ModelHandle
from backend.diffusion.ksample import ksample
from backend.families.sd import SD1_FAMILY
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.plan import WINDOW
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import init_weights

SIZES = UNetSizes(channels=(32, 64), res_blocks=(1, 1), depth_in=(1, 0), depth_middle=1, depth_out=(0, 0, 1, 1), context=32, heads=4)
SIDE, STEPS = 16, 2
ONE = SD1_FAMILY.working_bytes((1, 4, SIDE, SIDE), SIZES)


@functools.cache
def weights() -> Mapping[str, Tensor]:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in init_weights(UNet(SIZES)).state_dict().items()}


WEIGHTS = sum(value.nbytes for value in weights().values())
LAYER = max(value.nbytes for value in weights().values())


def text(seed: int, **options: Any) -> list[Any]:
    return [torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(seed)), options]


def run(budget: int | None, positive: list[Any] | None = None, cfg: float = 5.0, latents: int = 1) -> tuple[Tensor, list[int], Pool]:
    """The latents, the batches the net saw and the pool afterwards."""
    seen: list[int] = []

    def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
        seen.append(x.shape[0])
        return SD1_FAMILY.forward(net, x, t, kwargs)

    loadable = Loadable("net@1-1", lambda: UNet(SIZES), weights())
    model = ModelHandle(loadable, replace(SD1_FAMILY, forward=forward), SIZES, SD1_FAMILY.noise({}))
    pool = Pool("cpu", budget)
    latent = {"samples": torch.zeros(latents, 4, SIDE, SIDE)}
    out = ksample(model, 5, STEPS, cfg, "euler", "normal", positive or [text(1)], [text(2)], latent, pool=pool)["samples"]
    return out, seen, pool


@functools.cache
def at_ease() -> Tensor:
    out, seen, pool = run(None)
    assert seen == [2] * STEPS
    assert not any("at a time" in move.what for move in pool.moves)
    return out


@pytest.mark.parametrize(
    ("budget", "batches", "streams"),
    [
        (WEIGHTS + 2 * ONE, [2], False),
        (WEIGHTS + 2 * ONE - 1, [1, 1], False),  # rather than weights that come at each use
        (WEIGHTS + ONE, [1, 1], False),
        (WEIGHTS + ONE - 1, [2], True),  # where weights come at each use, both have them for one coming
        (WINDOW * LAYER + 2 * ONE, [2], True),
        (WINDOW * LAYER + 2 * ONE - 1, [1, 1], True),
        (1, [1, 1], True),
        (0, [2], True),  # which says that no weight is to stay
    ],
)
def test_both_are_predicted_at_once_where_there_is_room(budget: int, batches: list[int], streams: bool) -> None:
    out, seen, pool = run(budget)
    assert seen == batches * STEPS
    assert bool(pool.table()[0]["streamed"]) == streams
    assert (out - at_ease()).abs().max() < 1e-5 * at_ease().abs().max()
    told = [move.sentence() for move in pool.moves if "at a time" in move.what]
    assert len(told) == (len(batches) - 1)
    for sentence in told:
        assert sentence.startswith("net: 1 of 2 conditions at a time, all 2 at once need")


def test_latents_of_a_batch_stay_together() -> None:
    """What does not fit is halved by conditions; the pictures of a batch are the user's to choose."""
    out, seen, _ = run(WEIGHTS + 3 * ONE, latents=3)
    assert seen == [3, 3] * STEPS
    assert (out - run(None, latents=3)[0]).abs().max() < 1e-5 * out.abs().max()


def test_many_conditions_are_halved_until_they_fit() -> None:
    positive = [text(n) for n in range(4)]
    out, seen, _ = run(WEIGHTS + 2 * ONE, positive)
    assert seen == [2, 2, 1] * STEPS
    assert (out - run(None, positive)[0]).abs().max() < 1e-5 * out.abs().max()


def test_conditions_that_never_apply_together_are_not_counted_together() -> None:
    """Two halves of a way, with a text each: two predictions a step, though there are three conditions."""
    positive = [text(1, start_percent=0.0, end_percent=0.5), text(3, start_percent=0.501, end_percent=1.0)]
    assert run(WEIGHTS + 2 * ONE, positive)[1] == [2] * STEPS


def test_small_areas_need_little() -> None:
    """An area is run by itself on its part of the latent, so it does not add to what the whole needs."""
    positive = [text(1), text(3, area=(8, 8, 0, 0))]
    assert run(WEIGHTS + 2 * ONE, positive)[1] == [2, 2] * STEPS


def test_without_guidance_the_room_for_one_is_enough() -> None:
    _, seen, pool = run(WEIGHTS + ONE, cfg=1.0)
    assert seen == [1] * STEPS
    assert not any("at a time" in move.what for move in pool.moves)
