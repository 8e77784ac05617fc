"""Embedding files of every kind, found by name and read without running anything."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.base.paths import Folders
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.inversion import Inversions
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.spec import from_checkpoint
from backend.memory.pool import Pool
from backend.nn.layers import init_weights
from backend.weights.file import Entry
from backend.weights.save import save_safetensors

WIDTH = 64


def vectors(n: int, width: int = WIDTH) -> Tensor:
    return torch.arange(n * width, dtype=torch.float32).reshape(n, width) / width


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "models" / "embeddings" / "sub").mkdir(parents=True)
    return Folders.of(tmp_path)


def place(folders: Folders, name: str) -> Path:
    return folders.models / "embeddings" / name


def a1111(v: Tensor) -> dict[str, Any]:
    param = torch.nn.Parameter(v, requires_grad=False)
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": param}, "name": "x", "step": 500, "sd_checkpoint": None}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pt", a1111(vectors(3))),
        ("a.pt", a1111(vectors(3).half())),
        ("a.pt", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": vectors(2)})}),
        ("a.bin", {"<cat-toy>": vectors(1)[0]}),
        ("a.bin", {"<cat-toy>": vectors(2)}),
        ("a.safetensors", {"emb_params": vectors(4)}),
        ("a.safetensors", {"clip_g": vectors(2, 96), "clip_l": vectors(2)}),
        ("a.safetensors", {"<token>": vectors(1)[0]}),
    ],
)
def test_kinds(folders: Folders, name: str, content: dict[str, Any]) -> None:
    path = place(folders, name)
    if name.endswith(".safetensors"):
        save_safetensors(path, content)
    else:
        torch.save(content, path)
    tensors = {**content.get("string_to_param", {}), **content}
    want = next(t for t in tensors.values() if isinstance(t, Tensor) and t.shape[-1] == WIDTH).float().reshape(-1, WIDTH)
    got = Inversions(folders, "l", WIDTH)("a")
    assert got is not None and torch.equal(got, want)


def test_names_with_folder_and_extension(folders: Folders) -> None:
    save_safetensors(place(folders, "sub/v1.5.safetensors"), {"emb_params": vectors(1)})
    shelf = Inversions(folders, "l", WIDTH)
    for name in ("sub/v1.5", "sub/v1.5.safetensors"):
        assert shelf(name) is not None
    for name in ("v1.5", "sub/v1", "../embeddings/sub/v1.5", "sub", "/etc/passwd", "\0"):
        assert shelf(name) is None


def test_another_width_is_refused_naming_both(folders: Folders) -> None:
    save_safetensors(place(folders, "old.safetensors"), {"emb_params": vectors(1, 1024)})
    with pytest.raises(BadFile, match=r"made for SD 2 .*\(1024 wide\), this text encoder is SD 1 .*\(768 wide\)"):
        Inversions(folders, "l", 768)("old")


def test_a_file_without_vectors(folders: Folders) -> None:
    save_safetensors(place(folders, "odd.safetensors"), {"kernel": torch.zeros(2, 2, 2)})
    with pytest.raises(BadFile, match="holds no token vectors"):
        Inversions(folders, "l", WIDTH)("odd")


def clip(folders: Folders) -> ClipHandle:
    torch.manual_seed(0)
    state = init_weights(ClipText(ClipSizes(width=WIDTH, layers=1, heads=1, mlp=64))).state_dict()
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in state.items()}
    found = from_checkpoint(state, header, folders=folders)
    assert found is not None
    return found


def test_in_a_prompt(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    save_safetensors(place(folders, "sub/toy.safetensors"), {"emb_params": vectors(2)})
    handle, pool = clip(folders), Pool("cpu")
    (chunk,) = handle.tokenize("a (embedding:sub/toy:1.2), cat")["l"]
    tokens = [entry[0] for entry in chunk]
    assert torch.equal(torch.stack(tokens[2:4]), vectors(2)) and [entry[1] for entry in chunk[1:5]] == [1.0, 1.2, 1.2, 1.0]
    cond, _ = handle.encode({"l": [chunk]}, pool)
    assert cond.shape == (1, 77, WIDTH) and torch.isfinite(cond).all()
    with caplog.at_level(logging.WARNING):
        gone = handle.tokenize("a embedding:nowhere cat")
    assert "nowhere" in caplog.text
    assert gone == handle.tokenize("a cat")
