"""PyTorch files: equal to torch.load for weights, and unable to run anything."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.base.errors import BadFile
from backend.weights.open import open_weights
from backend.weights.pickle import PickleFile

STATE = {
    "f32": torch.randn(3, 5),
    "f16": torch.randn(7).half(),
    "bf16": torch.randn(2, 2).bfloat16(),
    "i64": torch.arange(4),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(1.5),
    "strided": torch.arange(12.0).reshape(3, 4).t(),
    "slice": torch.arange(20.0)[3:9:2],
    "empty": torch.empty(0, 2),
    "parameter": torch.nn.Parameter(torch.randn(2, 3)),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_weights(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.ckpt"
    content = {"state_dict": collections.OrderedDict(STATE), "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    file = open_weights(path)
    assert isinstance(file, PickleFile)
    assert set(file) == set(STATE)
    for key, tensor in STATE.items():
        assert torch.equal(file.tensor(key), tensor.detach()), key
        assert file[key].shape == tuple(tensor.shape) and file[key].dtype == tensor.dtype
        file.prefetch(key)
        file.release(key)
        assert torch.equal(file.tensor(key), tensor.detach()), key


@pytest.mark.parametrize("zipped", [True, False])
def test_shared_storage_and_nesting(tmp_path: Path, zipped: bool) -> None:
    whole = torch.arange(10.0)
    content = {"string_to_param": {"*": whole[2:5]}, "name": "cat", "step": 7, "again": whole, "loss": np.float64(0.25)}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    file = open_weights(tmp_path / "x.pt")
    assert isinstance(file, PickleFile)
    assert set(file) == {"string_to_param.*", "again"}
    assert file.tensor("string_to_param.*").tolist() == [2, 3, 4]
    assert file.extras == {"name": "cat", "step": 7, "loss": 0.25}
    assert file.metadata == {"name": "cat"}


def test_module_state_dict(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.save(net.state_dict(), tmp_path / "x.pth")
    file = open_weights(tmp_path / "x.pth")
    assert set(file) == set(net.state_dict())


def test_views_are_on_the_map(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "x.pt")
    file = open_weights(tmp_path / "x.pt")
    assert file.tensor("a").data_ptr() == file.tensor("a").data_ptr()


def test_compressed_entries(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(1000.0), "e": torch.empty(0)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as old, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    file = open_weights(tmp_path / "y.pt")
    assert torch.equal(file.tensor("a"), torch.arange(1000.0))
    assert file.tensor("e").shape == (0,)


def test_training_framework_objects_are_dropped(tmp_path: Path) -> None:
    """Lightning checkpoints carry callback classes; their code is never looked for."""
    body = (
        b"\x80\x02}q\x00(X\x09\x00\x00\x00callbacksq\x01}q\x02cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\nq\x03K\x01s"
        b"X\x01\x00\x00\x00nq\x04K\x02u."
    )
    path = archive(tmp_path / "x.ckpt", body)
    file = PickleFile(path)
    assert file.extras["n"] == 2


# --- hostile files


class Evil:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def archive(path: Path, body: bytes, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", body)
        z.writestr("archive/version", "3\n")
        for name, data in (extra or {}).items():
            z.writestr(f"archive/{name}", data)
    return path


def legacy(path: Path, body: bytes) -> Path:
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*head, body, pickle.dumps([], 2)]))
    return path


def canaries(marker: Path) -> dict[str, Any]:
    import builtins
    import os
    import subprocess

    command = f"touch {marker}"
    return {
        "os.system": Evil(os.system, command),
        "subprocess": Evil(subprocess.call, ["touch", str(marker)]),
        "exec": Evil(builtins.exec, f"open({str(marker)!r}, 'w')"),
        "eval": Evil(builtins.eval, f"open({str(marker)!r}, 'w')"),
        "open": Evil(builtins.open, str(marker), "w"),
        "getattr": Evil(builtins.getattr, {}, "clear"),
        "torch.load": Evil(torch.load, str(marker)),
        "torch.save": Evil(torch.save, {}, str(marker)),
        "torch.hub": Evil(torch.hub.load, str(marker)),
        "bytearray": Evil(builtins.bytearray, 1 << 20),
        "nested in a dict": {"state_dict": {"weight": torch.zeros(2), "x": Evil(os.system, command)}},
    }


@pytest.mark.parametrize("layout", ["zip", "legacy", "bare", "renamed"])
@pytest.mark.parametrize("name", list(canaries(Path("x"))))
def test_nothing_ever_runs(tmp_path: Path, name: str, layout: str) -> None:
    marker = tmp_path / "ran"
    evil = canaries(marker)[name]
    buffer = io.BytesIO()
    torch.save(evil, buffer)
    with zipfile.ZipFile(buffer) as z:
        body = z.read(next(n for n in z.namelist() if n.endswith("data.pkl")))
    path = tmp_path / ("x.safetensors" if layout == "renamed" else "x.ckpt")
    if layout == "legacy":
        legacy(path, body)
    elif layout == "bare":
        path.write_bytes(body)
    else:
        archive(path, body, {"data/0": b"\0" * 8})
    with pytest.raises(BadFile) as caught:
        open_weights(path)
    assert not marker.exists()
    assert "asks for" in caught.value.message
    assert "nothing was run" in caught.value.message


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


REBUILD = global_("torch._utils", "_rebuild_tensor_v2")
SCALAR = global_("numpy.core.multiarray", "scalar") + global_("numpy", "dtype")
HOSTILE = {
    "old-style instance": b"\x80\x02(S'touch x'\nios\nsystem\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "change a lent function": b"\x80\x02" + REBUILD + b"}(X\x05\x00\x00\x00_callK\x01ub.",
    "change a lent function by slots": b"\x80\x02" + REBUILD + b"N}(X\x05\x00\x00\x00_callK\x01u\x86b.",
    "change a class": b"\x80\x02" + global_("collections", "OrderedDict") + b"}(X\x03\x00\x00\x00getK\x01ub.",
    "change a dtype": b"\x80\x02" + global_("torch", "FloatStorage") + b"}(X\x01\x00\x00\x00aK\x01ub.",
    "call a dtype": b"\x80\x02" + global_("torch", "FloatStorage") + b")R.",
    "dotted name": b"\x80\x04\x8c\x05torch\x8c\x0b_utils.sys.x\x93.",
    "dunder": b"\x80\x02" + global_("collections", "OrderedDict.__init__") + b".",
    "huge memo index": b"\x80\x02K\x01r\xff\xff\xff\xffr\xff\xff\xff\x7f",
    "stack underflow": b"\x80\x02R.",
    "endless": b"\x80\x02" + b"]" * 1000,
    "no end": b"\x80\x02K\x01",
    "unknown opcode": b"\x80\x02\xff.",
    "future protocol": b"\x80\x63.",
    "tensor of nothing": b"\x80\x02" + REBUILD + b"(NNNNtR.",
    "persistent garbage": b"\x80\x02K\x05Q.",
    "self-containing": b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01h\x00s.",
    "numpy of objects": b"\x80\x02" + SCALAR + b"X\x02\x00\x00\x00O8\x85RC\x01a\x86R.",
    "unhashable key": b"\x80\x02}]K\x01s.",
}


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(tmp_path: Path, name: str, layout: str) -> None:
    path = (archive if layout == "zip" else legacy)(tmp_path / "x.ckpt", HOSTILE[name])
    before = dict(vars(collections.OrderedDict))
    with pytest.raises(BadFile):
        open_weights(path)
    assert dict(vars(collections.OrderedDict)) == before
    torch.save(STATE, tmp_path / "good.pt")
    assert set(open_weights(tmp_path / "good.pt")) == set(STATE), "the next file is read as ever"


def tensor_pickle(shape: tuple[Any, ...], stride: tuple[Any, ...], offset: Any = 0, count: int = 4, key: str = "0") -> bytes:
    class Persistent:
        pass

    class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", count) if isinstance(obj, Persistent) else None

        def reducer_override(self, obj: Any) -> Any:
            return NotImplemented

    buffer = io.BytesIO()

    class Ref:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (Persistent(), offset, shape, stride, False, collections.OrderedDict())

    Pickler(buffer, 2).dump({"t": Ref()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tensor_pickle((5,), (1,)), "past the end"),
        (tensor_pickle((2, 2), (4, 1)), "past the end"),
        (tensor_pickle((4,), (1,), 1), "past the end"),
        (tensor_pickle((1 << 40,), (0,)), "past the end"),
        (tensor_pickle((4,), (-1,)), "whole numbers"),
        (tensor_pickle((-4,), (1,)), "whole numbers"),
        (tensor_pickle((4,), (1,), -1), "whole numbers"),
        (tensor_pickle((4,), (1, 1)), "1 dimensions but 2 strides"),
        (tensor_pickle((4,), (1,), count=400), "cut short"),
        (tensor_pickle((4,), (1,), key="9"), "storage 9 is missing"),
        (tensor_pickle((4,), (1,), count=-1), "unknown way"),
    ],
)
def test_tensors_that_reach_outside(tmp_path: Path, body: bytes, message: str) -> None:
    path = archive(tmp_path / "x.pt", body, {"data/0": struct.pack("<4f", 1, 2, 3, 4)})
    with pytest.raises(BadFile, match=message):
        open_weights(path)


def test_a_good_one_of_these(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pt", tensor_pickle((2, 2), (2, 1)), {"data/0": struct.pack("<4f", 1, 2, 3, 4)})
    assert open_weights(path).tensor("t").tolist() == [[1, 2], [3, 4]]


def test_damaged_archives(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3000.0)}, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    for cut in (10, 100, len(data) // 2, len(data) - 30):
        (tmp_path / "cut.pt").write_bytes(data[:cut])
        with pytest.raises(BadFile):
            open_weights(tmp_path / "cut.pt")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as z:
        z.writestr("readme.txt", "hello")
    with pytest.raises(BadFile, match=r"without data\.pkl"):
        open_weights(tmp_path / "z.zip")


def test_damaged_streams(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(300.0)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "x.pt").read_bytes()
    for cut in (3, 20, 60, len(data) - 1000, len(data) - 4):
        (tmp_path / "cut.pt").write_bytes(data[:cut])
        with pytest.raises(BadFile):
            open_weights(tmp_path / "cut.pt")
    (tmp_path / "p.pt").write_bytes(pickle.dumps({"just": "a pickle"}))
    with pytest.raises(BadFile, match="not a PyTorch file"):
        open_weights(tmp_path / "p.pt")
