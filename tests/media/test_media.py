"""Sound and film: what is written is read back, and files that are neither are refused in sentences."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.media import audio, video

RATE = 48000


def tone(seconds: float = 0.5, channels: int = 2, rate: int = RATE, hertz: float = 440.0) -> Tensor:
    t = torch.arange(round(seconds * rate)) / rate
    return (0.5 * torch.sin(2 * torch.pi * hertz * t)).expand(channels, -1).clone()


def frames(count: int = 12, height: int = 32, width: int = 48) -> Tensor:
    """A white bar that moves from left to right."""
    images = torch.zeros(count, height, width, 3)
    for i in range(count):
        images[i, :, i * width // count : (i + 1) * width // count] = 1
    return images


@pytest.mark.parametrize(
    ("format", "quality", "error"), [("flac", "", 1e-4), ("mp3", "V0", 0.05), ("mp3", "128k", 0.05), ("opus", "128k", 0.05)]
)
def test_sound_comes_back(format: str, quality: str, error: float, tmp_path: Path) -> None:
    wave = tone()
    path = tmp_path / f"a.{format}"
    path.write_bytes(audio.encode(wave, RATE, format, quality, {"prompt": '{"1": {}}'}))
    found = audio.read_audio(path)
    got = found["waveform"]
    assert found["sample_rate"] == RATE and got.shape[:2] == (1, 2)
    assert abs(got.shape[-1] - wave.shape[-1]) < 4000
    # codecs shift by their own delay: compare loudness and pitch
    middle = got[0, 0, 4000:20000]
    assert float(middle.square().mean().sqrt()) == pytest.approx(0.5 / 2**0.5, abs=max(error, 1e-3))
    assert int(torch.fft.rfft(middle).abs().argmax()) == round(440 * len(middle) / RATE)
    if format == "flac":
        assert (got[0] - wave).abs().max() < error


def test_opus_of_a_rate_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "a.opus"
    path.write_bytes(audio.encode(tone(rate=44100, channels=1), 44100, "opus", "96k"))
    assert audio.read_audio(path)["waveform"].shape[1] == 1


def test_sounds_are_matched_and_mixed() -> None:
    a, b, rate = audio.matched(audio.audio(tone(0.5, 1, 24000)[None], 24000), audio.audio(tone(0.25)[None], RATE))
    assert rate == RATE and a.shape == (1, 2, 24000) and b.shape == (1, 2, 12000)
    made = audio.mixed(a, b, "add")
    assert made.shape == a.shape and made.abs().max() <= 1
    assert torch.allclose(audio.mixed(a, a, "subtract"), torch.zeros_like(a))
    with pytest.raises(BadInput, match="channels"):
        audio.matched(audio.audio(torch.zeros(1, 3, 9), RATE), audio.audio(torch.zeros(1, 2, 9), RATE))
    with pytest.raises(BadInput, match="no sound"):
        audio.checked(None)


@pytest.mark.parametrize("codec", ["h264", "vp9", "av1"])
def test_film_comes_back(codec: str, tmp_path: Path) -> None:
    parts = video.Components(frames(), Fraction(8), audio.audio(tone(1.5)[None], RATE))
    path = tmp_path / f"a.{video.FORMATS[codec][0]}"
    path.write_bytes(video.encode(parts, codec, {"prompt": '{"1": {}}'}, crf=20))
    film = video.VideoFile(path)
    assert film.get_dimensions() == (48, 32) and film.get_frame_rate() == 8
    assert film.get_duration() == pytest.approx(1.5, abs=0.1)
    found = film.get_components()
    assert found.images.shape == (12, 32, 48, 3) and (found.images - frames()).abs().mean() < 0.06
    assert found.audio is not None and found.audio["waveform"].shape[1] == 2
    texts = {key.lower(): text for key, text in found.metadata.items()}
    assert texts["prompt"] == '{"1": {}}'


def test_parts_of_a_film(tmp_path: Path) -> None:
    parts = video.Components(frames(), Fraction(8), audio.audio(tone(1.5)[None], RATE))
    path = tmp_path / "a.mp4"
    video.VideoFrames(parts).save_to(path)
    for whole in (video.VideoFile(path), video.VideoFrames(parts)):
        part = video.part_of(whole, 0.5, 0.75)
        assert part.get_duration() == pytest.approx(0.75, abs=0.05)
        found = part.get_components()
        assert (found.images - frames()[4:10]).abs().mean() < 0.06
        assert found.audio is not None and found.audio["waveform"].shape[-1] == pytest.approx(0.75 * RATE, abs=2000)
        assert len(video.part_of(whole, -0.5, 0).get_components().images) == 4
    with pytest.raises(BadInput, match="nothing from"):
        video.part_of(video.VideoFrames(parts), 9, 1)


def test_a_film_file_is_copied_as_it_is(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.mp4", tmp_path / "b.mp4"
    video.VideoFrames(video.Components(frames(), Fraction(8))).save_to(path)
    video.VideoFile(path).save_to(copy, metadata={"workflow": "{}"})
    before, after = video.VideoFile(path).get_components(), video.VideoFile(copy).get_components()
    assert torch.equal(before.images, after.images) and after.metadata["workflow"] == "{}"


def test_what_is_no_film_or_sound_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("no film" * 100)
    with pytest.raises(BadFile, match="cannot be read as a film"):
        video.VideoFile(text).get_components()
    with pytest.raises(BadFile, match="cannot be read as sound"):
        audio.read_audio(text)
    silent = tmp_path / "b.mp4"
    video.VideoFrames(video.Components(frames(4), Fraction(8))).save_to(silent)
    with pytest.raises(BadFile, match="holds no sound"):
        audio.read_audio(silent)
    assert video.VideoFile(silent).get_components().audio is None
    cut = tmp_path / "c.mp4"
    cut.write_bytes(silent.read_bytes()[:200])
    with pytest.raises(BadFile, match="film"):
        video.VideoFile(cut).get_components()
    with pytest.raises(BadInput, match="h265"):
        video.VideoFile(silent).save_to(tmp_path / "d.mp4", codec="h265")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]
