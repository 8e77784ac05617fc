"""Upscale models: read by our reader, recognised, run in tiles as if whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from backend.base.errors import BadFile, OutOfMemory
from backend.codecs import upscaler
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    upscaler.library()
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2)
    return {key: value.contiguous() for key, value in net.state_dict().items()}


@pytest.mark.parametrize("wrapper", ["", "params.", "params_ema.module."])
def test_reads_and_enlarges(state: dict[str, torch.Tensor], wrapper: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_safetensors(path, {wrapper + key: value for key, value in state.items()})
    found = upscaler.load(path)
    assert found.scale == 2
    images = torch.rand(2, 20, 24, 3)
    made = found.run(images, Pool("cpu"))
    assert made.shape == (2, 40, 48, 3) and made.dtype == torch.float32
    expected = found.descriptor(images.movedim(-1, 1)).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(made, expected, atol=1e-5)
    told: list[tuple[int, int]] = []
    tiled = found.run(images, Pool("cpu"), lambda done, total: told.append((done, total)), tile=16)
    assert told[-1] == (4, 4) and (tiled - expected)[:, 12:-12, 12:-12].abs().mean() < 0.02


def test_reads_a_pickle(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"params_ema": state, "params": state}, tmp_path / "tiny.pth")
    assert upscaler.load(tmp_path / "tiny.pth").scale == 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "a.safetensors", {"weight": torch.zeros(3)})
    with pytest.raises(BadFile, match="no upscale model"):
        upscaler.load(tmp_path / "a.safetensors")


def test_tiles_shrink_until_they_fit() -> None:
    class Net(torch.nn.Module):
        largest = 130

    def call(x: torch.Tensor) -> torch.Tensor:
        if max(x.shape[2:]) > Net.largest:
            raise torch.OutOfMemoryError("too large")
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    class Descriptor(SimpleNamespace):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return call(x)

    model = upscaler.Upscaler("tiny", 2, Descriptor(model=Net(), input_channels=3))
    images = torch.rand(1, 300, 200, 3)
    made = model.run(images, Pool("cpu"))
    assert torch.allclose(made, images.repeat_interleave(2, 1).repeat_interleave(2, 2), atol=1e-5)
    Net.largest = 10
    with pytest.raises(OutOfMemory, match="tiles of 64"):
        model.run(images, Pool("cpu"))
