from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from backend.base.config import GIB, Settings, parse
from backend.base.errors import BadInput

# Every flag scripts may pass, each in a form that must parse.
FLAGS = """--listen|--listen 1.2.3.4|--listen 1.2.3.4,::1|--port 9000|--tls-keyfile k --tls-certfile c|--enable-cors-header
--enable-cors-header http://a|--max-upload-size 5|--base-directory d|--extra-model-paths-config a b|--output-directory d
--input-directory d|--temp-directory d|--user-directory d|--auto-launch|--disable-auto-launch|--cuda-device 1
--default-device 0|--cuda-malloc|--disable-cuda-malloc|--force-fp32|--force-fp16|--fp32-unet|--fp64-unet|--bf16-unet
--fp16-unet|--fp8_e4m3fn-unet|--fp8_e5m2-unet|--fp8_e8m0fnu-unet|--fp16-vae|--fp32-vae|--bf16-vae|--cpu-vae
--fp8_e4m3fn-text-enc|--fp8_e5m2-text-enc|--fp16-text-enc|--fp32-text-enc|--bf16-text-enc|--preview-method none
--preview-method auto|--preview-method latent2rgb|--preview-method taesd|--preview-size 256|--cache-classic
--cache-lru 7|--cache-none|--use-split-cross-attention|--use-quad-cross-attention|--use-pytorch-cross-attention
--use-sage-attention|--use-flash-attention|--disable-xformers|--gpu-only|--highvram|--normalvram|--lowvram|--novram
--cpu|--reserve-vram 1.5|--async-offload|--disable-smart-memory|--deterministic|--fast|--fast fp16_accumulation x
--ram-budget 4|--idle-unload 5|--disable-mmap
--dont-print-server|--quick-test-for-ci|--windows-standalone-build|--disable-metadata|--metadata minimal
--disable-all-custom-nodes|--whitelist-custom-nodes a b|--disable-api-nodes|--multi-user|--verbose|--verbose WARNING
--log-stdout|--front-end-version x@latest|--front-end-root d|--enable-compress-response-body
--default-hashing-function md5|--database-url sqlite:///x|--directml|--directml 1|--vram-budget 8|--cache-ram 4
--force-upcast-attention|--dont-upcast-attention|--force-channels-last""".replace("\n", "|").split("|")


@pytest.mark.parametrize("line", FLAGS)
def test_every_flag_parses_and_says_something(line: str) -> None:
    made = parse(line.split())
    plain = dataclasses.replace(made, argv=())
    accepted_only = {"--force-channels-last", "--async-offload", "--directml", "--directml 1"}
    defaults = {"--disable-auto-launch", "--preview-method auto", "--cache-classic"}
    assert (plain == Settings()) == (line in accepted_only | defaults)


def test_values_have_their_units() -> None:
    line = "--listen --reserve-vram 1.5 --max-upload-size 5 --cache-lru 3 --novram --fast --vram-budget 8"
    made = parse(line.split())
    assert made.listen == ("0.0.0.0", "::")
    assert made.reserve_vram == int(1.5 * GIB) and made.vram_budget == 8 * GIB
    assert made.max_upload == 5 * 2**20
    assert (made.cache, made.cache_lru, made.memory, made.fast) == ("lru", 3, "none", ())


@pytest.mark.parametrize(
    "line", ["--nonsense", "--port x", "--port -1", "--port 70000", "--cpu --novram", "--preview-method best", "--reserve-vram -1"]
)
def test_what_is_not_understood_is_said(line: str) -> None:
    with pytest.raises(BadInput):
        parse(line.split())


def test_settings_are_frozen_and_reading_them_makes_nothing(tmp_path: Path) -> None:
    made = parse(["--base-directory", str(tmp_path / "new")])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.port = 1  # type: ignore[misc]
    made.folders()
    assert not (tmp_path / "new").exists()


def test_the_temporary_directory_is_below_the_given_one(tmp_path: Path) -> None:
    assert parse(["--temp-directory", str(tmp_path)]).folders().temp == tmp_path / "temp"
