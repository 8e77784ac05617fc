"""The checkpoint that ships, through the product's own path: does it paint what the prompt says?"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny.judge import judge
from tests.tiny.product import CHECKPOINT, Product
from tools.train_tiny.captions import caption
from tools.train_tiny.draw import Picture, imagine

pytestmark = pytest.mark.slow
PAIRS = 200
STEPS = 20
CFG = 6.0
DETERMINISTIC = (
    "euler", "heun", "heunpp2", "dpm_2", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2m", "ipndm", "ipndm_v", "deis", "res_multistep",
    "gradient_estimation", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
AGREEMENT = 40.0
"""Decibels."""


class Case(NamedTuple):
    picture: Picture
    prompt: str
    seed: int


def unseen(count: int) -> list[Case]:
    """Prompts for combinations of colour, shape, size, place and background that training never drew, each with a seed of its own."""
    rng = np.random.default_rng(2026)
    pictures = [imagine(rng, pairs=0, held_out=True) for _ in range(count)]
    return [Case(picture, caption(picture, rng), int(rng.integers(2**32))) for picture in pictures]


@pytest.fixture(scope="module")
def product() -> Product:
    return Product.open()


def test_file_is_small_and_fully_used(product: Product) -> None:
    assert CHECKPOINT.stat().st_size <= 14_000_000
    assert product.loaded.unmatched == ()
    assert product.loaded.model is not None and product.loaded.clip is not None and product.loaded.vae is not None


def test_colour_and_shape_of_unseen_prompts(product: Product) -> None:
    """At least nine of ten are right; those that can no longer change the answer are not painted."""
    wrong, right = [], 0
    for case in unseen(PAIRS):
        thing = case.picture.things[0]
        seen = judge(product.paint(case.prompt, case.seed, STEPS, CFG))
        if seen and (seen[0].colour, seen[0].shape) == (thing.colour, thing.shape):
            right += 1
        else:
            wrong.append(f"{case.prompt!r} (seed {case.seed}) became {[f'{s.colour} {s.shape}' for s in seen]}")
        if right >= 0.9 * PAIRS or len(wrong) > 0.1 * PAIRS:
            break
    assert right >= 0.9 * PAIRS, f"{right} of {right + len(wrong)} right; wrong:\n" + "\n".join(wrong)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-6))


def test_deterministic_samplers_agree() -> None:
    """Thirty steps of each come out as two hundred steps of the plainest: they solve the same equation."""
    product = Product.open(exact=True)
    case = {"prompt": "a large red star on a blue background", "seed": 1, "cfg": 4.0, "scheduler": "karras"}
    reference = product.paint(**case, sampler="euler", steps=200)
    found = {name: psnr(product.paint(**case, sampler=name, steps=30), reference) for name in DETERMINISTIC}
    assert min(found.values()) >= AGREEMENT, {name: round(value, 1) for name, value in found.items()}
