"""The VAE handle: tiles, overflow, bad input, falling back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backend.base.errors import BadInput, OutOfMemory
from backend.codecs.kl import spec
from backend.codecs.kl.net import AutoencoderKL
from backend.codecs.kl.spec import VaeHandle, from_file
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from tests.families import tiny


@pytest.fixture
def vae(tmp_path: Path) -> VaeHandle:
    tiny.make().vae.save_pretrained(tmp_path)
    found = from_file(open_weights(tmp_path))
    assert found is not None
    return found


def test_tiles_agree_with_the_whole(vae: VaeHandle) -> None:
    pool, z = Pool(), torch.randn(1, 4, 48, 40)
    whole = vae.decode(z, pool)
    assert torch.equal(vae.decode_tiled(z, pool, tile=512), whole), "one tile is the whole"
    seams = vae.decode_tiled(z, pool, tile=64, overlap=32)
    assert seams.shape == whole.shape
    assert (seams - whole).abs().mean() < 0.05, "group norms see another neighbourhood, so tiles are close, not equal"
    image = torch.rand(2, 48, 40, 3)
    latent = vae.encode(image, pool)
    assert torch.equal(vae.encode_tiled(image, pool, tile=512), latent)
    assert vae.encode_tiled(image, pool, tile=32, overlap=8).shape == latent.shape


def test_batches_are_run_one_by_one_and_can_be_cancelled(vae: VaeHandle) -> None:
    pool, calls = Pool(), []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    z = torch.randn(4, 4, 4, 4)
    single = torch.cat([vae.decode(z[i : i + 1], pool) for i in range(4)])
    assert torch.equal(vae.decode(z, pool), single)
    with pytest.raises(KeyboardInterrupt):
        vae.decode(z, pool, check)


def test_overflow_is_repeated_in_float32(vae: VaeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    real = AutoencoderKL.decode

    def overflowing(self: AutoencoderKL, z: torch.Tensor) -> torch.Tensor:
        seen.append(z.dtype)
        return real(self, z) * (float("nan") if z.dtype == torch.bfloat16 else 1)

    pool, z = Pool(), torch.randn(1, 4, 4, 4)
    expected = vae.decode(z, pool)
    monkeypatch.setattr(AutoencoderKL, "decode", overflowing)
    half = replace(vae, loadable=replace(vae.loadable, dtype=torch.bfloat16))
    assert torch.equal(half.decode(z, pool), expected)
    assert seen == [torch.bfloat16, torch.float32]


def test_bf16_is_close(vae: VaeHandle) -> None:
    pool, z = Pool(), torch.randn(1, 4, 8, 8)
    half = replace(vae, loadable=replace(vae.loadable, dtype=torch.bfloat16))
    assert (half.decode(z, pool) - vae.decode(z, pool)).abs().max() < 0.05


def test_falls_back_to_tiles_without_memory(vae: VaeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    z, pool, shapes = torch.randn(1, 4, 300, 4), Pool(), []
    real = AutoencoderKL.decode

    def limited(self: AutoencoderKL, part: torch.Tensor) -> torch.Tensor:
        shapes.append(part.shape[2])
        if part.shape[2] > 256:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(self, part)

    monkeypatch.setattr(AutoencoderKL, "decode", limited)
    assert vae.decode(z, pool).shape == (1, 600, 8, 3)
    assert shapes[0] == 300 and max(shapes[1:]) <= 256


def test_a_small_budget_chooses_tiles_at_once(vae: VaeHandle) -> None:
    need = vae.working_bytes(600, 8, torch.float32)
    z = torch.randn(1, 4, 300, 4)
    assert torch.allclose(vae.decode(z, Pool(budget=need // 2)), vae.decode_tiled(z, Pool()))


def test_it_runs_where_autoencoders_are_to_run(vae: VaeHandle) -> None:
    gpu, cpu = Pool(torch.device("meta"), budget=0), Pool()
    gpu.others["vae"] = cpu
    z, pixels = torch.randn(1, 4, 8, 8), torch.rand(1, 16, 16, 3)
    assert torch.equal(vae.decode(z, gpu), vae.decode(z, Pool()))
    assert torch.equal(vae.encode(pixels, gpu), vae.encode(pixels, Pool()))
    assert torch.equal(vae.decode_tiled(z, gpu), vae.decode_tiled(z, Pool()))
    assert cpu.table()[0]["resident_bytes"] > 0


def test_other_errors_are_not_hidden(vae: VaeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: AutoencoderKL, part: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    with pytest.raises(RuntimeError, match="something else"):
        vae.decode(torch.randn(1, 4, 4, 4), Pool())

    def hungry(self: AutoencoderKL, part: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoencoderKL, "decode", hungry)
    with pytest.raises(OutOfMemory, match="one tile"):
        vae.decode(torch.randn(1, 4, 4, 4), Pool())


@pytest.mark.parametrize("shape", [(1, 1, 64, 3), (1, 8, 8, 2), (8, 8, 3)])
def test_bad_images(vae: VaeHandle, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput):
        vae.encode(torch.zeros(shape), Pool())


def test_latent_of_another_model(vae: VaeHandle) -> None:
    with pytest.raises(BadInput, match="4 channels"):
        vae.decode(torch.zeros(1, 16, 8, 8), Pool())


def test_other_files_hold_no_kl(tmp_path: Path) -> None:
    from backend.weights.save import save_safetensors

    save_safetensors(tmp_path / "x.safetensors", {"decoder.conv_in.weight": torch.zeros(4, 4, 3, 3, 3)})
    assert spec.from_file(open_weights(tmp_path / "x.safetensors")) is None
