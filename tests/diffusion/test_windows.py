"""Windows: they cover everything, and for a net that looks at each place alone they change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.diffusion.conditioning import Entry
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.patches import windows
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.diffusion.window import Along, Window
from backend.memory.pool import Pool
from tests.diffusion.toy import ToyFamily, cond, toy_model

SIGMAS = torch.tensor([14.0, 3.0, 0.0])


@given(st.integers(2, 60), st.integers(1, 30), st.integers(0, 29), st.integers(1, 3), st.integers(0, 20), st.booleans())
@settings(max_examples=200, deadline=None)
def test_schedules_cover_all_frames(frames: int, length: int, overlap: int, stride: int, step: int, closed: bool) -> None:
    if length >= frames or overlap >= length:
        return
    for name in windows.SCHEDULES:
        found = windows.scheduled(name, frames, length, overlap, stride, closed, step)
        assert {at for rows in found for at in rows} == set(range(frames)), name


def test_static_windows() -> None:
    assert windows.static(10, 4, 1) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert windows.static(9, 4, 1) == [[0, 1, 2, 3], [3, 4, 5, 6], [5, 6, 7, 8]]
    assert windows.batched(5, 2) == [[0, 1], [2, 3], [4]]


def test_weights() -> None:
    rows = [4, 5, 6, 7]
    assert windows.fuse_weights("pyramid", rows, 20, 1).tolist() == [1, 2, 2, 1]
    assert windows.fuse_weights("flat", rows, 20, 1).tolist() == [1, 1, 1, 1]
    linear = windows.fuse_weights("overlap-linear", rows, 20, 2)
    assert linear[0] < 1e-6 and linear[1:3].tolist() == [1, 1] and linear[3] < 1e-6
    assert (windows.fuse_weights("relative", rows, 20, 1) > 0).all()


@pytest.mark.parametrize(("dim", "shape"), [(0, (6, 4, 3, 3)), (2, (1, 4, 6, 3))])
@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform", "batched"])
def test_a_net_of_single_places_does_not_notice(dim: int, shape: tuple[int, ...], schedule: str) -> None:
    family = ToyFamily([])
    model = toy_model(family=family)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, *shape[2:])
    mask[:, 0] = 1
    positive = [*cond(1), [cond(3)[0][0], {"mask": mask}], [cond(4)[0][0], {"area": (2, 2, 1, 1)}]]

    def run(model: Any) -> torch.Tensor:
        guider = CfgGuider(model, positive, cond(2), 3.0)
        return sample(guider, noise, torch.zeros(shape), solver("euler"), SIGMAS, pool=Pool("cpu"))

    whole = run(model)
    family.calls.clear()
    made = run(windows.context_windows(model, 3, 1, schedule, 1, False, "pyramid", dim))
    assert torch.allclose(made, whole, atol=1e-4)
    assert {size for _, size, _ in family.calls} <= {(3, 3)}


@pytest.mark.parametrize("circular", [False, True])
def test_panorama_of_single_places(circular: bool) -> None:
    family = ToyFamily([])
    model = toy_model(family=family)
    noise = torch.randn(1, 4, 6, 13, generator=torch.Generator().manual_seed(0))

    def run(model: Any) -> torch.Tensor:
        guider = CfgGuider(model, cond(1), cond(2), 3.0)
        return sample(guider, noise, torch.zeros_like(noise), solver("euler"), SIGMAS, pool=Pool("cpu"))

    whole = run(model)
    family.calls.clear()
    made = run(windows.panorama(model, 6, 3, circular))
    assert torch.allclose(made, whole, atol=1e-4) and {size for _, size, _ in family.calls} == {(6, 6)}
    ends = {columns[-1] for _, columns in windows.views(6, 13, 6, 3, circular)}
    assert (0 in ends or 1 in ends or 4 in ends) == circular and 12 in ends | {12}


def test_an_entry_outside_of_a_window_is_left_out() -> None:
    window = Window((1, 4, 4, 8), {3: [0, 1, 2]})
    assert window.entry(Entry({}, area=(2, 2, 0, 5))) is None
    seen = window.entry(Entry({}, area=(2, 2, 0, 1), inputs={"concat": torch.zeros(1, 2, 4, 8), "context": torch.zeros(1, 7, 6)}))
    assert seen is not None and seen.weight is not None and seen.weight[0, 0, 0].tolist() == [0, 1, 1]
    assert seen.inputs["concat"].shape == (1, 2, 4, 3) and seen.inputs["context"].shape == (1, 7, 6)


def test_what_goes_along_with_frames_is_cut_with_them() -> None:
    window = Window((1, 4, 5, 2, 2), {2: [3, 4]})
    sound, faces = torch.arange(9).reshape(1, 1, 9), torch.arange(16).reshape(1, 16)
    along = {"sound": Along(2, 2), "faces": Along(1, 4, 1), "absent": Along(1)}
    seen = window.entry(Entry({}, inputs={"sound": sound, "faces": faces}), along)
    assert seen is not None
    assert seen.inputs["sound"].flatten().tolist() == [6, 7, 8] and seen.inputs["faces"].tolist() == [[12, 13, 14, 15]]
    rows = Window((1, 4, 5, 2, 2), {3: [0]}).entry(Entry({}, inputs={"sound": sound}), along)
    assert rows is not None and rows.inputs["sound"] is sound
