"""Areas, masks, strengths, ranges and batches, against doing it slowly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.base.errors import BadInput, OutOfMemory
from backend.diffusion.batching import stack, stackable
from backend.diffusion.conditioning import resolve
from backend.diffusion.denoiser import Denoiser
from backend.diffusion.sample import prepare_conds
from tests.diffusion.naive import predict as slowly
from tests.diffusion.naive import x0_of
from tests.diffusion.toy import ToyFamily, text, toy_model, toy_pool

H, W = 24, 20
CPU = torch.device("cpu")


def latents(batch: int = 2, height: int = H, width: int = W) -> Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(9)) * 3


def run(conds: dict[str, Any], x: Tensor, sigma: float = 2.5, family: ToyFamily | None = None) -> dict[str, Tensor]:
    model = toy_model(family=family)
    with toy_pool().lease(model.loadable) as net:
        denoiser = Denoiser(model, net, prepare_conds(model, conds, x.shape, CPU))
        return dict(zip(conds, denoiser.predict(x, torch.full((x.shape[0],), sigma), list(conds)), strict=True))


def expected(entries: list[tuple[Tensor, dict[str, Any]]], x: Tensor, sigma: float = 2.5) -> Tensor:
    model = toy_model()
    with toy_pool().lease(model.loadable) as net:
        return slowly(model, net, x, sigma, entries)


def close(a: Tensor, b: Tensor) -> None:
    assert (a - b).abs().max() < 1e-4


def some_mask(seed: int) -> Tensor:
    return torch.rand(H, W, generator=torch.Generator().manual_seed(seed))


CASES: dict[str, list[tuple[Tensor, dict[str, Any]]]] = {
    "one": [(text(1), {})],
    "combined": [(text(1), {}), (text(2), {})],
    "strengths": [(text(1), {"strength": 0.5}), (text(2), {"strength": 1.5})],
    "area over whole": [(text(1), {}), (text(2), {"area": (12, 10, 4, 6), "strength": 2.0})],
    "areas side by side": [(text(1), {"area": (24, 12, 0, 0)}), (text(2), {"area": (24, 12, 0, 8)})],
    "uncovered": [(text(1), {"area": (10, 10, 2, 2)})],
    "small areas": [(text(1), {}), (text(2), {"area": (3, 5, 1, 1)}), (text(3), {"area": (9, 8, 15, 12)})],
    "masks": [(text(1), {"mask": some_mask(1)}),
              (text(2), {"mask": torch.ones(H, W), "mask_strength": 0.3, "strength": 2.0})],
    "mask in area": [(text(1), {}), (text(2), {"mask": some_mask(2), "area": (8, 8, 3, 3)})],
    "other lengths": [(text(1, 7), {}), (text(2, 14), {}), (text(3, 21), {}), (text(4, 5), {})],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_against_doing_it_slowly(case: str) -> None:
    x = latents()
    got = run({"positive": [[t, o] for t, o in CASES[case]]}, x)["positive"]
    close(got, expected(CASES[case], x))


ANY_AREA = st.tuples(st.integers(1, 20), st.integers(1, 16), st.integers(0, 4), st.integers(0, 4), st.floats(0.1, 3))


@settings(max_examples=25, deadline=None)
@given(st.lists(ANY_AREA, min_size=1, max_size=4))
def test_any_areas(areas: list[tuple[int, int, int, int, float]]) -> None:
    entries: list[tuple[Tensor, dict[str, Any]]] = [(text(0), {})]
    entries += [(text(n + 1), {"area": tuple(a[:4]), "strength": a[4]}) for n, a in enumerate(areas)]
    x = latents(1)
    close(run({"positive": [[t, o] for t, o in entries]}, x)["positive"], expected(entries, x))


def test_percent_areas_and_large_areas_become_cells() -> None:
    areas = [("percentage", 0.5, 0.25, 0.5, 0.1), (100, 100, 4, 2), ("percentage", 0, 0, 0, 0)]
    entries = resolve([[text(1), {"area": area}] for area in areas], (1, 4, H, W), float, CPU)
    assert [e.area for e in entries] == [(12, 5, 12, 2), (20, 18, 4, 2), (1, 1, 0, 0)]


def test_area_outside_is_explained() -> None:
    with pytest.raises(BadInput, match="lies outside"):
        resolve([[text(1), {"area": (4, 4, 100, 0)}]], (1, 4, H, W), float, CPU)


def test_flat_area_of_a_video_covers_all_frames() -> None:
    (entry,) = resolve([[text(1), {"area": (4, 5, 1, 2)}]], (1, 4, 3, H, W), float, CPU)
    assert entry.area == (3, 4, 5, 0, 1, 2)
    x = torch.randn(1, 4, 3, H, W)
    assert entry.crop(x).shape == (1, 4, 3, 4, 5)


def test_mask_is_resized_and_may_bound_the_area() -> None:
    mask = torch.zeros(H * 2, W * 2)
    mask[10:40, 8:30] = 1
    (entry,) = resolve([[text(1), {"mask": mask, "set_area_to_bounds": True}]], (1, 4, H, W), float, CPU)
    assert entry.area == (15, 11, 5, 4)
    (small,) = resolve([[text(1), {"mask": mask * 0, "set_area_to_bounds": True}]], (1, 4, H, W), float, CPU)
    assert small.area == (8, 8, 0, 0)


def test_nothing_applies_gives_zero() -> None:
    x = latents()
    assert torch.equal(run({"positive": [[text(1), {"start_percent": 0.9}]]}, x, sigma=10.0)["positive"], torch.zeros_like(x))


@pytest.mark.parametrize(("sigma", "which"), [(14.0, 1), (0.05, 2)])
def test_ranges(sigma: float, which: int) -> None:
    conds = [[text(1), {"start_percent": 0.0, "end_percent": 0.5}], [text(2), {"start_percent": 0.5, "end_percent": 1.0}]]
    x = latents()
    close(run({"positive": conds}, x, sigma)["positive"], expected([(text(which), {})], x, sigma))


def test_range_ends_belong_to_it() -> None:
    (entry,) = resolve([[text(1), {"start_percent": 0.3, "end_percent": 0.7}]], (1, 4, 8, 8), lambda p: 10 - 10 * p, CPU)
    assert entry.active(7.0) and entry.active(3.0) and not entry.active(7.01) and not entry.active(2.99)


def test_both_roles_run_in_one_batch() -> None:
    family = ToyFamily([])
    run({"positive": [[text(1), {}]], "negative": [[text(2), {}]]}, latents(), family=family)
    assert family.calls == [(4, (H, W), 7)]


def test_other_token_counts_are_repeated_to_a_common_length() -> None:
    family = ToyFamily([])
    got = run({"positive": [[text(1, 6), {}]], "negative": [[text(2, 4), {}]]}, latents(), family=family)
    assert family.calls == [(4, (H, W), 12)]
    close(got["negative"], expected([(text(2, 4), {})], latents()))


def test_far_apart_lengths_run_alone() -> None:
    assert stackable(torch.zeros(1, 77, 8), torch.zeros(1, 231, 8))
    assert not stackable(torch.zeros(1, 7, 8), torch.zeros(1, 5, 8))
    assert not stackable(torch.zeros(1, 77, 8), torch.zeros(1, 77, 9))
    assert torch.equal(stack([torch.ones(1, 2, 3), torch.zeros(1, 4, 3)]), torch.cat([torch.ones(1, 4, 3), torch.zeros(1, 4, 3)]))


def test_areas_of_one_size_share_a_batch() -> None:
    family = ToyFamily([])
    areas = [[text(1), {"area": (8, 8, 0, 0)}], [text(2), {"area": (8, 8, 8, 8)}], [text(3), {"area": (4, 8, 0, 0)}]]
    run({"positive": areas}, latents(1), family=family)
    assert sorted(family.calls) == [(1, (4, 8), 7), (2, (8, 8), 7)]


def test_text_batch_is_spread_over_the_latents() -> None:
    contexts = text(5, batch=2)
    x = latents(3)
    got = run({"positive": [[contexts, {}]]}, x)["positive"]
    model = toy_model()
    with toy_pool().lease(model.loadable) as net:
        for row in range(3):
            close(got[row : row + 1], x0_of(model, net, x[row : row + 1], 2.5, contexts[row % 2 : row % 2 + 1]))


def test_out_of_memory_halves_the_batch_and_remembers() -> None:
    family = ToyFamily([], most_batch=2)
    conds = {"positive": [[text(n), {}] for n in range(3)], "negative": [[text(9), {}]]}
    x = latents()
    got = run(conds, x, family=family)
    assert [c[0] for c in family.calls] == [2, 2, 2, 2]
    close(got["positive"], expected([(text(n), {}) for n in range(3)], x))


def test_out_of_memory_for_a_single_latent_is_a_problem() -> None:
    with pytest.raises(OutOfMemory, match="batch of 2 latents") as caught:
        run({"positive": [[text(1), {}]]}, latents(), family=ToyFamily([], most_batch=1))
    assert caught.value.hint


def test_negative_gets_the_areas_of_the_positive() -> None:
    """Guidance inside an area compares with the negative text run on that area."""
    family = ToyFamily([])
    conds = {"positive": [[text(1), {}], [text(2), {"area": (8, 8, 2, 2)}]], "negative": [[text(3), {}]]}
    x = latents()
    got = run(conds, x, family=family)
    assert sum(c[1] == (8, 8) for c in family.calls) == 1 and (4, (8, 8), 7) in family.calls
    close(got["negative"], expected([(text(3), {}), (text(3), {"area": (8, 8, 2, 2)})], x))


def test_default_entries_fill_what_is_left() -> None:
    mask = torch.zeros(H, W)
    mask[:, :10] = 1
    conds = {"positive": [[text(1), {"mask": mask}], [text(2), {"default": True}]]}
    x = latents()
    got = run(conds, x)["positive"]
    close(got, expected([(text(1), {"mask": mask}), (text(2), {"mask": 1 - mask})], x))


def test_control_is_called_and_shared_with_the_negative() -> None:
    class Control:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def get_control(self, x: Tensor, t: Tensor, inputs: Any, batched: int, options: Any) -> dict[str, list[Tensor]]:
            self.seen.append((tuple(x.shape), batched, options["cond_or_uncond"]))
            return {"input": []}

    class Family(ToyFamily):
        def forward(self, net: Any, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
            assert kwargs["control"] == {"input": []}
            return super().forward(net, x, t, kwargs)

    control = Control()
    options = {"control": control, "control_apply_to_uncond": True}
    run({"positive": [[text(1), options]], "negative": [[text(2), {}]]}, latents(), family=Family([]))
    assert control.seen == [((4, 4, H, W), 2, [0, 1])]
    other = Control()
    with pytest.raises(KeyError):  # the negative runs alone, without control
        run({"positive": [[text(1), {"control": other}]], "negative": [[text(2), {}]]}, latents(), family=Family([]))
    assert other.seen == [((2, 4, H, W), 1, [0])]
