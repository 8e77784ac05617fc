"""What is measured is measured once, written down, and stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend

from backend.base.config import parse
from backend.memory import kernels
from backend.memory.kernels import Kernels, known_processor
from backend.nn import attention, backends, packed, products
from backend.nn.backends import Backends
from backend.nn.choice import Choices, Way

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    attention.PREFERENCE.measured = attention.PREFERENCE.backends = None
    packed.PACKING.float32 = False


def takes(seconds: dict[str, float]) -> tuple[dict[str, Way], Callable[[Way], float], list[str]]:
    """Ways that take so long by a clock of their own, and the order in which they were run."""
    ran: list[str] = []
    ways: dict[str, Way] = {name: lambda name=name: ran.append(name) for name in seconds}  # type: ignore[misc]

    def clock(run: Way) -> float:
        run()
        return seconds[ran[-1]]

    return ways, clock, ran


@pytest.mark.parametrize(("other", "taken"), [(0.5, "b"), (0.89, "b"), (0.92, "a"), (2.0, "a")])
def test_another_way_has_to_be_clearly_faster(tmp_path: Path, other: float, taken: str) -> None:
    ways, clock, ran = takes({"a": 1.0, "b": other})
    assert Choices(tmp_path / "k.json", "m").choose("q", "a", ways, clock) == taken
    assert ran[:4] == ["a", "b", "a", "b"], "in turns"
    ways, clock, ran = takes({"a": other, "b": 1.0})
    assert Choices(tmp_path / "k.json", "m").choose("q", "a", ways, clock) == taken and not ran, "the answer of before holds"
    assert Choices(tmp_path / "k.json", "other machine").choose("q", "a", ways, clock) == ("b" if other > 1.1 else "a") and ran


def test_one_disturbed_measurement_decides_nothing() -> None:
    times = {"a": iter([0.09, 0.01, 0.01, 0.01]), "b": iter([0.09, 0.05, 0.005, 0.05])}
    ways: dict[str, Way] = {name: lambda name=name: name for name in times}  # type: ignore[misc]
    assert Choices(None, "m").choose("q", "a", ways, lambda run: next(times[str(run())])) == "b"
    times = {"a": iter([0.9, 1.0]), "b": iter([0.9, 2.0])}
    assert Choices(None, "m").choose("q", "a", ways, lambda run: next(times[str(run())])) == "a", "what is slow is not asked so often"


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"m: q": 1}', '{"m: q": {"way": 3, "seconds": {}}}', '{"m: q": {"way": "gone", "seconds": {}}}']
)
def test_a_damaged_or_outdated_record_is_measured_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.json").write_text(text)
    ways, clock, ran = takes({"a": 1.0, "b": 0.1})
    assert Choices(tmp_path / "k.json", "m").choose("q", "a", ways, clock) == "b" and ran
    assert Choices(tmp_path / "k.json", "m").all()["q"].way == "b"


def test_a_way_that_cannot_be_taken_is_left_out_and_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("no such kernel")

    (tmp_path / "file").write_text("")
    choices = Choices(tmp_path / "file" / "k.json", "m")
    clock = takes({})[1]
    ran: list[str] = []
    assert choices.choose("q", "a", {"a": lambda: ran.append("a"), "b": broken}, lambda run: (run(), 1.0)[1]) == "a"
    assert str(choices.known("q")) == "a (a 1e+03 ms)" and clock is not None
    with pytest.raises(RuntimeError):
        choices.choose("p", "b", {"b": broken}, lambda run: (run(), 1.0)[1])


def processor(path: Path, maker: str = "GenuineIntel") -> Path:
    path.write_text(f"processor : 0\nvendor_id : {maker}\nmodel name : One\nflags : avx512f avx512_bf16\n\nprocessor : 1\n")
    return path


def test_a_known_processor_needs_no_clock(tmp_path: Path) -> None:
    assert known_processor(processor(tmp_path / "amd", "AuthenticAMD")) and not known_processor(processor(tmp_path / "intel"))
    assert not known_processor(tmp_path / "none")
    chosen = Kernels(parse([]), CPU, tmp_path / "k.json", tmp_path / "amd")
    chosen.start()
    chosen.ask()
    assert not chosen.open() and not (tmp_path / "k.json").exists() and attention.PREFERENCE.measured is None
    by_rules = Kernels(parse(["--kernel-choice", "rules"]), CPU, None, tmp_path / "intel")
    by_rules.start()
    assert not by_rules.open() and attention.PREFERENCE.measured is None


def test_an_unknown_processor_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intel, file = processor(tmp_path / "intel"), tmp_path / "k.json"
    monkeypatch.setattr(
        kernels, "_attend", lambda dtype, t, s, d: {"fused": lambda: 3.0, "matrix products": lambda: 1.0 if t == s else 4.0}
    )
    monkeypatch.setattr(kernels, "_linear", lambda: {"torch's own choice": lambda: 2.0, "oneDNN, packed": lambda: 1.0})
    first = Kernels(parse([]), CPU, file, intel)
    first.start()
    assert len(first.open()) >= 1 + len(products.CLASSES) and attention.PREFERENCE.measured is None
    first.ask(clock=lambda run: float(run()), now=lambda: 0.0)  # type: ignore[arg-type]
    measured = attention.PREFERENCE.measured
    assert packed.PACKING.float32 and measured is not None and not first.open() and len(first.told()) == len(first.choices.all())
    q, k = torch.empty(1, 1, 2000, 64), torch.empty(1, 1, 77, 64)
    assert products.suits(q, q, measured=measured) and not products.suits(q, k, measured=measured)
    assert not products.suits(q, q), "the rule says otherwise"
    attention.PREFERENCE.measured, packed.PACKING.float32 = None, False
    second = Kernels(parse([]), CPU, file, intel)
    second.start()
    assert not second.open() and attention.PREFERENCE.measured == measured and packed.PACKING.float32


def test_what_there_was_no_time_for_stays_as_it_is_elsewhere(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 5))
    late = Kernels(parse([]), CPU, tmp_path / "k.json", processor(tmp_path / "intel"))
    late.ask(clock=lambda run: 1.0 if run is kernels._nothing else pytest.fail("nothing is to be run"), now=lambda: next(ticks))
    assert not late.open() and not packed.PACKING.float32 and not any((attention.PREFERENCE.measured or {"": True}).values())


def test_the_real_ways_can_be_run() -> None:
    for question, (usual, ways) in Kernels(parse([]), CPU, None)._questions().items():
        if "long" not in question:
            made = ways()
            assert usual in made and all(run() is not None for run in made.values())


def test_kernels_of_a_gpu_are_measured_when_a_size_first_occurs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, which has two of the four kernels too."""
    seconds = {None: 3.0, SDPBackend.MATH: 1.0, SDPBackend.FLASH_ATTENTION: 2.0}
    asked: list[object] = []
    real = backends.sdpa_kernel

    def watched(order: list[SDPBackend], set_priority: bool) -> object:
        asked.append(order[0])
        return real(order, set_priority=set_priority)

    def clock(run: Way) -> float:
        asked[:] = [None]
        run()
        return seconds[asked[-1]]  # type: ignore[index]

    monkeypatch.setattr(backends, "sdpa_kernel", watched)
    attention.PREFERENCE.backends = Backends(Choices(tmp_path / "k.json", "m"), clock, "cpu")
    q, k, v = (torch.randn(1, 2, n, 16) for n in (40, 33, 33))
    expected = F.scaled_dot_product_attention(q, k, v)
    for _ in range(2):
        assert torch.allclose(attention.by_head(q, k, v), expected, atol=1e-5) and asked[-1] == SDPBackend.MATH
    (question,) = attention.PREFERENCE.backends.choices.all()
    assert question == "attention, torch.float32, heads of 16 x 2, 64 queries, 64 keys"
    again = attention.PREFERENCE.backends = Backends(Choices(tmp_path / "k.json", "m"), lambda run: pytest.fail("it is known"), "cpu")
    assert torch.allclose(attention.by_head(q[:, :, :35], k, v), F.scaled_dot_product_attention(q[:, :, :35], k, v), atol=1e-5)
    seconds |= {None: 1.0}
    again._clock = clock
    mask = torch.ones(40, 33, dtype=torch.bool).tril()
    assert torch.equal(attention.by_head(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)), "torch's own choice"
    assert len(again.choices.all()) == 2
