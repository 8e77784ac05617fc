"""ControlNet nodes: what they put into conditionings, and their sentences."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backend.base.errors import BadInput, MissingFile, NotInstalled, Problem
from backend.control.control import Control
from nodes import controlnet
from tests.nodes.bench import Bench

TEXT = torch.zeros(1, 7, 4)
PICTURE = torch.rand(1, 16, 16, 3)


def net(**facts: Any) -> Any:
    return Control(SimpleNamespace(title="the ControlNet x", sizes=SimpleNamespace(union=facts.pop("union", None)), **facts))


def test_both_prompts_share_one_control_and_keep_earlier_ones(tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    positive, negative = [[TEXT, {"pooled_output": 1}]], [[TEXT, {}]]
    one = controlnet.control_net_apply_advanced(
        ctx, positive=positive, negative=negative, control_net=net(), image=PICTURE, strength=0.5, start_percent=0.1, end_percent=0.9
    )
    control = one[0][0][1]["control"]
    assert control is one[1][0][1]["control"] and control.strength == 0.5 and (control.start_percent, control.end_percent) == (0.1, 0.9)
    assert one[0][0][1]["pooled_output"] == 1 and one[0][0][1]["control_apply_to_uncond"] is False
    assert control.hint.shape == (1, 3, 16, 16) and positive[0][1] == {"pooled_output": 1}
    two = controlnet.control_net_apply(ctx, conditioning=one[0], control_net=net(), image=PICTURE, strength=1.0)
    assert two[0][1]["control"].previous is control and two[0][1]["control_apply_to_uncond"] is True


def test_no_strength_changes_nothing(tmp_path: Path) -> None:
    conditioning = [[TEXT, {}]]
    ctx = Bench(tmp_path).context()
    assert controlnet.control_net_apply(ctx, conditioning=conditioning, control_net=net(), image=PICTURE, strength=0.0) is conditioning


def test_kinds_of_union_nets(tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    set_type = controlnet.set_union_control_net_type
    assert set_type(ctx, control_net=net(union=6), type="depth").types == (1,)
    assert set_type(ctx, control_net=net(), type="auto").types == ()
    with pytest.raises(BadInput, match="one kind of picture only"):
        set_type(ctx, control_net=net(), type="depth")
    with pytest.raises(BadInput, match="knows 6 kinds of picture; tile"):
        set_type(ctx, control_net=net(union=6), type="tile")


def test_missing_file_is_named_with_its_input(tmp_path: Path) -> None:
    with pytest.raises(MissingFile) as error:
        controlnet.control_net_loader(Bench(tmp_path).context(), control_net_name="canny.pth")
    assert error.value.where.input == "control_net_name" and isinstance(error.value, Problem) and not isinstance(error.value, NotInstalled)
