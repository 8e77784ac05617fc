"""Weights that are one tensor in a net and several elsewhere: files and adapters made for either."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.weights import lora
from backend.weights.adapters.kinds import Decomposed, Difference, LowRank
from backend.weights.adapters.placed import OtherOrder, WithinRows
from backend.weights.file import Origin, Piece, Renamed
from backend.weights.held import Held
from backend.weights.open import open_weights
from backend.weights.patch import Patch
from backend.weights.save import save_safetensors

NAMES: dict[str, Origin] = {
    "qkv.weight": (Piece("q.weight", rows=4), Piece("k.weight", rows=4), Piece("mlp.weight", rows=6)),
    "out.weight": (Piece("norm.weight", 1, 2, 3), Piece("norm.weight", 0, 2, 3)),
    "plain.weight": "other.weight",
}


class Model:
    """The least that takes patches."""

    def __init__(self, source: dict[str, Tensor], patches: tuple[Patch, ...] = ()) -> None:
        self.loadable, self.patches = SimpleNamespace(source=source), patches

    def patched(self, *patches: Patch) -> Model:
        return Model(self.loadable.source, (*self.patches, *patches))

    def spellings(self) -> Any:
        return NAMES

    def grown(self, columns: Any) -> Model:
        return self


def file() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"q.weight": torch.randn(4, 5), "k.weight": torch.randn(4, 5), "mlp.weight": torch.randn(6, 5),
            "norm.weight": torch.randn(6, 5), "other.weight": torch.randn(2, 5)}  # fmt: skip


def test_a_file_in_pieces(tmp_path: Path) -> None:
    state = file()
    named = Renamed(Held(state), NAMES)
    assert named["qkv.weight"].shape == (14, 5) and named["qkv.weight"].nbytes == 14 * 5 * 4 and named["out.weight"].shape == (6, 5)
    assert torch.equal(named.tensor("qkv.weight"), torch.cat([state[f"{name}.weight"] for name in ("q", "k", "mlp")]))
    assert torch.equal(named.tensor("out.weight"), state["norm.weight"].roll(3, 0))
    assert set(named.used()) == set(state) and named.packed("qkv.weight") is None
    save_safetensors(tmp_path / "m", {key: value.to(torch.float8_e4m3fn) for key, value in state.items()})
    small = Renamed(open_weights(tmp_path / "m"), NAMES)
    packed = small.packed("qkv.weight")
    assert packed is not None and packed.nbytes == 70
    assert torch.equal(packed.to(torch.device("cpu")).dense(), small.tensor("qkv.weight").float())


@pytest.mark.parametrize("spelling", ["transformer.{}", "lora_transformer_{}", "diffusion_model.{}"])
def test_an_adapter_for_pieces(spelling: str, tmp_path: Path) -> None:
    theirs = file()
    ours = {name: Renamed(Held(theirs), NAMES).tensor(name) for name in NAMES}
    state: dict[str, Tensor] = {}
    for key, weight in theirs.items():
        module = spelling.format(key.removesuffix(".weight"))
        up, down = torch.randn(len(weight), 2), torch.randn(2, 5)
        state |= {f"{module}.lora_B.weight": up, f"{module}.lora_A.weight": down}
        theirs[key] = weight + 0.5 * up @ down
    save_safetensors(tmp_path / "lora.safetensors", state)
    model, _, report = lora.apply(Model(ours), None, open_weights(tmp_path / "lora.safetensors"), 0.5)
    assert model is not None and report.unmatched == () and len(model.patches) == 3
    want = Renamed(Held(theirs), NAMES)
    for patch in model.patches:
        assert torch.allclose(patch.delta(ours[patch.key].clone()), want.tensor(patch.key), atol=1e-6)
        change = patch.delta.by_rows()  # type: ignore[attr-defined]
        if change is not None:
            rows = ours[patch.key].clone()
            for start in range(0, len(rows), 3):
                change(rows[start : start + 3], start)
            assert torch.allclose(rows, want.tensor(patch.key), atol=1e-6)


def test_what_needs_the_weight_sees_its_own_rows() -> None:
    torch.manual_seed(1)
    w, inner = torch.randn(6, 5), Decomposed(LowRank(torch.randn(2, 1), torch.randn(1, 5), 1.0), torch.rand(2, 1))
    moved = WithinRows(inner, 2, 2)
    assert moved.fits((6, 5)) and not moved.fits((3, 5)) and torch.allclose(moved.change(w)[2:4], inner.change(w[2:4]))
    assert torch.allclose(moved.apply(w.clone(), 1.0), w + moved.change(w), atol=1e-6)
    turned = OtherOrder(Difference(torch.arange(6.0)[:, None].expand(6, 5)), (2, 0, 1))
    assert turned.change(w)[:, 0].tolist() == [4, 5, 0, 1, 2, 3]
