"""Pictures for the members of a batch."""

from __future__ import annotations

import pytest
import torch

from backend.diffusion.members import for_members


@pytest.mark.parametrize(
    ("pictures", "latents", "members", "want"),
    [(1, 2, 2, [0, 0, 0, 0]), (2, 1, 2, [0, 0]), (2, 3, 2, [0, 1, 0, 0, 1, 0]), (3, 2, 1, [0, 1]), (2, 2, 3, [0, 1, 0, 1, 0, 1])],
)
def test_each_member_begins_with_the_first(pictures: int, latents: int, members: int, want: list[int]) -> None:
    made = torch.arange(pictures).reshape(-1, 1, 1)
    assert for_members(made, latents * members, members).flatten().tolist() == want
