"""What the rest of a graph will run, for the memory planner."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import torch

from backend.encoders.joint import JointText
from backend.encoders.text import SingleEncoder
from backend.memory.pool import Loadable
from backend.worker import nets_of


def test_encoders_that_are_heard_together_are_nets_of_their_own() -> None:
    nets = [Loadable(name, torch.nn.Identity, {}, dtype=torch.float32) for name in ("l", "g")]
    parts = [SimpleNamespace(loadable=net, branch=net.key) for net in nets]
    joint = JointText(cast(tuple[SingleEncoder, ...], tuple(parts)))
    assert [net.key for net in nets_of(joint)] == ["l", "g"]
    assert list(nets_of(parts[0])) == nets[:1]
    assert list(nets_of("a text")) == [] == list(nets_of(SimpleNamespace(loadable=joint.loadable)))
