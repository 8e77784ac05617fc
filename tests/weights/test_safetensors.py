"""Safetensors: equal to the reference, and strict about everything a header can claim."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from backend.base.errors import BadFile, MissingFile
from backend.weights.open import open_weights
from backend.weights.safetensors import DTYPES, SafetensorsFile
from backend.weights.save import save_safetensors

TENSORS = {
    "f32": torch.randn(3, 5),
    "f16": torch.randn(7).half(),
    "bf16": torch.randn(2, 2, 2).bfloat16(),
    "f8": torch.randn(9).to(torch.float8_e4m3fn),
    "i64": torch.arange(4),
    "u8": torch.arange(5, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(2.5),
    "empty": torch.empty(0, 4),
}


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    raw_a, raw_b = (x.contiguous().view(-1).view(torch.uint8) for x in (a, b))
    return a.dtype == b.dtype and a.shape == b.shape and raw_a.equal(raw_b)


def test_reads_what_the_reference_writes(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors", {"who": "reference"})
    file = open_weights(tmp_path / "x.safetensors")
    assert isinstance(file, SafetensorsFile)
    assert file.metadata == {"who": "reference"}
    assert set(file) == set(TENSORS)
    for key, tensor in TENSORS.items():
        assert same(file.tensor(key), tensor), key
        assert file[key].shape == tuple(tensor.shape) and file[key].nbytes == tensor.nbytes


def test_the_reference_reads_what_we_write(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "x.safetensors", TENSORS, {"who": "us"})
    for key, tensor in load_file(tmp_path / "x.safetensors").items():
        assert same(tensor, TENSORS[key]), key


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(tmp_path: Path, name: str) -> None:
    dtype = DTYPES[name]
    raw = torch.arange(6 * dtype.itemsize, dtype=torch.uint8) % 2
    tensor = raw.view(dtype).reshape(2, 3)
    save_safetensors(tmp_path / "x", {"t": tensor, "odd": torch.zeros(3, dtype=torch.uint8)})
    assert same(open_weights(tmp_path / "x").tensor("t"), tensor)


def test_tensors_are_views_on_the_file(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "x", {"t": torch.zeros(1000)})
    file = open_weights(tmp_path / "x")
    assert file.tensor("t").data_ptr() == file.tensor("t").data_ptr()
    file.prefetch("t")
    file.release("t")
    assert not file.tensor("t").any()


def test_writing_to_a_view_never_reaches_the_file(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "x", {"t": torch.zeros(10)})
    open_weights(tmp_path / "x").tensor("t").fill_(1)
    assert not open_weights(tmp_path / "x").tensor("t").any()


def build(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(shape: Any, start: Any, stop: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


BROKEN: dict[str, tuple[bytes, str]] = {
    "short": (b"\x05\0\0\0\0\0\0\0{", "claims 5 bytes, but only 1"),
    "huge header": (build({}, length=1 << 40), "more than"),
    "header past the end": (build({}, length=50), "only 2 follow"),
    "not json": (build(b"{'a'}"), "not valid JSON"),
    "not utf-8": (build(b'{"\xff\xfe": 1}'), "not valid JSON"),
    "deep": (build(b'{"a":' * 100_000), "not valid JSON"),
    "twice": (build(b'{"a": 1, "a": 2}'), "'a' occurs twice"),
    "twice inside": (build(b'{"t": {"dtype": "F32", "dtype": "F16"}}'), "'dtype' occurs twice"),
    "entry is a list": (build({"t": []}), "'t' does not consist"),
    "entry lacks dtype": (build({"t": {"shape": [1], "data_offsets": [0, 4]}}), "'t' does not consist"),
    "unknown dtype": (build({"t": entry([1], 0, 4, "F31")}, b"1234"), "unknown dtype 'F31'"),
    "dtype is a number": (build({"t": entry([1], 0, 4, 7)}, b"1234"), "unknown dtype"),
    "negative shape": (build({"t": entry([-1], 0, 4)}, b"1234"), "not lists of whole numbers"),
    "float shape": (build({"t": entry([1.0], 0, 4)}, b"1234"), "not lists of whole numbers"),
    "bool shape": (build({"t": entry([True], 0, 4)}, b"1234"), "not lists of whole numbers"),
    "huge shape": (build({"t": entry([1 << 62, 1 << 62], 0, 4)}, b"1234"), "takes"),
    "three offsets": (build({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, b"1234"), "not lists"),
    "backwards": (build({"t": entry([1], 4, 0)}, b"1234"), "ends before"),
    "size": (build({"t": entry([2], 0, 4)}, b"1234"), "takes 8 bytes, but 4"),
    "cut": (build({"t": entry([2], 0, 8)}, b"1234"), "cut short"),
    "overlap": (build({"a": entry([1], 0, 4), "b": entry([1], 2, 6)}, b"123456"), "'a' and 'b' overlap"),
    "hole": (build({"a": entry([1], 0, 4), "b": entry([1], 6, 10)}, b"1234567890"), "hole of 2 bytes between 'a' and 'b'"),
    "hole at the start": (build({"a": entry([1], 2, 6)}, b"123456"), "hole of 2"),
    "tail": (build({"a": entry([1], 0, 4)}, b"123456"), "2 bytes after the last tensor 'a'"),
    "metadata": (build({"__metadata__": {"a": 1}, "t": entry([1], 0, 4)}, b"1234"), "__metadata__"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_headers(tmp_path: Path, name: str) -> None:
    data, message = BROKEN[name]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadFile, match=message) as caught:
        SafetensorsFile(path)
    assert "broken.safetensors" in caught.value.message
    assert caught.value.hint
    assert caught.value.where.file == str(path)


def test_header_must_be_an_object(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(build([]))
    with pytest.raises(BadFile, match="not a JSON object"):
        SafetensorsFile(path)


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_any_flipped_byte_is_a_bad_file_or_harmless(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    save_safetensors(path, {"a": torch.zeros(4), "b": torch.ones(2, 3).half()}, {"k": "v"})
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    path.write_bytes(data)
    try:
        file = SafetensorsFile(path)
    except BadFile:
        return
    assert all(file.tensor(key).shape == file[key].shape for key in file)


@given(st.integers(0, 230))
@settings(max_examples=60, deadline=None)
def test_any_truncation_is_a_bad_file(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.safetensors"
    save_safetensors(path, {"a": torch.zeros(4), "b": torch.ones(2, 3).half()})
    data = path.read_bytes()
    path.write_bytes(data[: min(size, len(data) - 1)])
    with pytest.raises(BadFile):
        open_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\0" * 100, "zeros"),
        (b"just some text that is long enough", "no safetensors"),
    ],
)
def test_things_that_are_no_weights(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        open_weights(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"no file nothing\.safetensors"):
        open_weights(tmp_path / "nothing.safetensors")


def test_saving_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    save_safetensors(path, {"t": torch.zeros(2)})
    before = path.read_bytes()

    def explode() -> torch.Tensor:
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        save_safetensors(path, {"t": explode}, shapes={"t": ((2,), torch.float32)})
    with pytest.raises(ValueError, match="promised"):
        save_safetensors(path, {"t": lambda: torch.zeros(3)}, shapes={"t": ((2,), torch.float32)})
    with pytest.raises(ValueError, match="no dtype"):
        save_safetensors(path, {"t": torch.zeros(1, dtype=torch.complex128)})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


def test_saving_from_functions(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "x", {"t": lambda: torch.arange(3)}, shapes={"t": ((3,), torch.int64)})
    assert load_file(tmp_path / "x")["t"].tolist() == [0, 1, 2]
