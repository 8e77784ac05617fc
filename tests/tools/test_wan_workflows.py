"""People's own files for Wan, unmodified but for their sizes, make films that play, on tiny random twins of their models."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image

from backend.engine.executor import Executor
from backend.engine.job import Job
from backend.graph.choices import FolderChoices
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from backend.media.video import Components, encode
from backend.workflow.document import Workflow
from backend.workflow.to_prompt import to_prompt
from nodes import builtin
from tests.golden import test_wav2vec
from tests.nodes.bench import Bench
from tests.tools import wan_twins as twins
from tools.templates import definitions

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "workflows"
REGISTRY = Registry(builtin())
FRAMES = 9
FILES = (
    "examples-wan__text_to_video_wan", "examples-wan22__text_to_video_wan22_14B", "examples-wan22__text_to_video_wan22_5B",
    "examples-wan__camera_image_to_video_wan_example", "examples-wan__vace_reference_to_video", "templates-wan2.1_flf2v_720_f16",
    "templates-video_wan_ati", "templates-wan2.1_fun_control", "templates-video_wan2_2_5B_fun_control",
)  # fmt: skip


def hears(path: Path) -> None:
    test_wav2vec.written(path, test_wav2vec.made(large=True), older=False)


NETS: dict[str, Callable[[Path], None]] = {
    "wan2.1_t2v_1.3B_fp16": twins.net(lambda: twins.WanNet(twins.sizes())),
    "wan2.2_t2v_high_noise_14B_fp8_scaled": twins.net(lambda: twins.WanNet(twins.sizes())),
    "wan2.2_t2v_low_noise_14B_fp8_scaled": twins.net(lambda: twins.WanNet(twins.sizes())),
    "wan2.1_fun_camera_v1.1_1.3B_bf16": twins.net(lambda: twins.CameraNet(twins.CameraSizes(16, 32, 64, 2, 1, 48, twins.TEXT, 64))),
    "wan2.1_vace_14B_fp16": twins.MAKERS["wan2.1_vace_1.3B_fp16.safetensors"],
    "wan2.1_fun_control_1.3B_bf16": twins.net(lambda: twins.WanNet(twins.sizes(shown=48, image=64))),
    "wan2.2_fun_control_5B_bf16": twins.net(lambda: twins.WanNet(twins.sizes(48, 148))),
    "wan2.2_s2v_14B_fp8_scaled": twins.net(
        lambda: twins.SoundNet(twins.SoundSizes(16, 16, 64, 2, 1, 48, twins.TEXT, sound=128, states=3, tokens=2, listens=(0,)))
    ),
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise": twins.lora,
    "wav2vec2_large_english_fp16": hears,
    "Wan2_1-I2V-ATI-14B_fp8_e4m3fn": twins.net(lambda: twins.WanNet(twins.sizes(shown=36, image=64))),
}
SPEAKS = "templates-video_wan2_2_14B_s2v"
LENGTH = 77
"""Frames of one stretch in the file with sound."""
SMALL = {"steps": 2, "width": 64, "height": 64, "length": FRAMES, "start_at_step": None, "end_at_step": None}
KINDS = {
    "lora_name": "loras",
    "audio_encoder_name": "audio_encoders",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "vae_name": "vae",
}


def shrunk(prompt: dict[str, Any], bench: Bench) -> dict[str, Any]:
    """The same graph small, with its pictures and models at hand."""
    bench.folders.input.mkdir(parents=True, exist_ok=True)
    for node in prompt.values():
        inputs = node["inputs"]
        inputs |= {key: value for key, value in SMALL.items() if value is not None and type(inputs.get(key)) is type(value)}
        if "start_at_step" in inputs:
            inputs |= {"start_at_step": 1, "end_at_step": 10000} if inputs["start_at_step"] else {"end_at_step": 1}
        if node["class_type"] == "LoadImage":
            Image.new("RGB", (80, 64), (120, 40, 200)).save(bench.folders.input / inputs["image"], "PNG")
        if node["class_type"] == "LoadAudio":
            with wave.open(str(bench.folders.input / inputs["audio"]), "wb") as sound:
                sound.setparams((1, 2, 16000, 0, "NONE", ""))
                sound.writeframes(torch.randint(-9999, 9999, (4000,), dtype=torch.int16).numpy().tobytes())
        if node["class_type"] == "LoadVideo":
            film = encode(Components(torch.rand(12, 64, 64, 3), Fraction(16)))
            (bench.folders.input / inputs["file"]).write_bytes(film)
        if node["class_type"] == "PrimitiveInt" and inputs["value"] == LENGTH:
            inputs["value"] = FRAMES
        for key, folder in KINDS.items():
            if key in inputs:
                folder = "clip_vision" if node["class_type"] == "CLIPVisionLoader" else folder
                path = bench.folders.models / folder / inputs[key]
                path.parent.mkdir(parents=True, exist_ok=True)
                (twins.MAKERS.get(path.name) or NETS[path.stem])(path)
    return prompt


@pytest.mark.parametrize("name", [*FILES, SPEAKS])
def test_a_film_comes_out(name: str, tmp_path: Path) -> None:
    file = FOLDER / f"{name}.workflow.json"
    if not file.exists():
        pytest.skip("the shared workflows are not beside this repository")
    converted = to_prompt(Workflow.parse(json.loads(file.read_text(encoding="utf-8"))), definitions())
    assert not converted.missing
    torch.manual_seed(0)
    bench = Bench(tmp_path)
    executor = Executor(REGISTRY, bench.events.append, services=bench.services, around=torch.inference_mode)
    checked = validate(Prompt.parse(shrunk(converted.prompt, bench)), REGISTRY, choices=FolderChoices(bench.folders))
    assert checked.error is None and not checked.node_errors, (checked.error, checked.node_errors)
    outcome = executor.run(Job("job", checked.prompt, tuple(checked.targets), {}))
    assert outcome.status == "success", [str(event) for event in bench.events[-3:]]
    made = [path for path in bench.folders.output.rglob("*") if path.suffix in (".webm", ".webp", ".mp4")]
    assert made
    for path in made:
        if path.suffix == ".webp":
            with Image.open(path) as picture:
                assert picture.size == (64, 64) and getattr(picture, "n_frames", 1) <= FRAMES  # frames that are equal are one
            continue
        with av.open(str(path)) as film:
            frames = list(film.decode(video=0))
            assert (len(frames) == FRAMES or (name == SPEAKS and len(frames) > 2 * FRAMES)) and (frames[0].width, frames[0].height) == (
                64,
                64,
            )
