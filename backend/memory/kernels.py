"""Choose the CPU's kernels by a measurement, once on a machine whose processor no rule knows; see backend.nn.choice."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.config import Settings
from backend.memory.device import cpu_computes_bf16
from backend.nn import packed, products
from backend.nn.attention import PREFERENCE
from backend.nn.backends import Backends, device_clock
from backend.nn.choice import Choices, Clock, Way

CPUINFO = Path("/proc/cpuinfo")
LINEAR = "linear layers in float32"
ONEDNN, USUAL, PRODUCTS, FUSED = "oneDNN, packed", "torch's own choice", "matrix products", "fused"
_LONGEST = 1.5  # seconds for all questions together; what was not asked by then stays as it is elsewhere
_SIDE, _ROWS = 1024, 256


class Kernels:
    """The kernels of one process. `start` brings what is known; `ask` measures what is not, which is for a moment when nothing runs."""

    def __init__(self, settings: Settings, device: torch.device, path: Path | None, cpuinfo: Path = CPUINFO) -> None:
        self._settings, self._device = settings, device
        self.choices = Choices(path, machine(device, cpuinfo))
        self.measures = settings.kernel_choice == "measured"
        self._known = known_processor(cpuinfo)

    def start(self) -> None:
        """Take what was chosen on this machine before. On a GPU, what is new is measured when it first occurs."""
        if not self.measures:
            return
        if self._device.type == "cuda":
            PREFERENCE.backends = Backends(self.choices, device_clock(self._device))
        elif not self.open():
            self._take()

    def open(self) -> list[str]:
        """The questions that have not been answered on this machine."""
        if not self.measures or self._device.type != "cpu" or self._known:
            return []
        return [question for question in self._questions() if self.choices.known(question) is None]

    def ask(self, clock: Clock | None = None, now: Callable[[], float] = time.process_time) -> None:
        """Answer the open questions, in a bounded time, and take the answers. They are asked of one core, in processor time: so other
        programs have no part in it, and neither have threads that wait for each other."""
        pending = self.open()
        if not pending:
            return
        begun, questions, threads = now(), self._questions(), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                for question in pending:
                    usual, ways = questions[question]
                    late = now() - begun > _LONGEST
                    self.choices.choose(question, usual, {usual: _nothing} if late else ways(), clock or _seconds)
        finally:
            torch.set_num_threads(threads)
        self._take()

    def told(self) -> list[str]:
        """What was measured, a sentence for each."""
        return [f"{question}: {chosen}" for question, chosen in sorted(self.choices.all().items())]

    def _take(self) -> None:
        if self._known:
            return
        ways = {question: chosen.way for question, chosen in self.choices.all().items()}
        packed.PACKING.float32 = ways.get(LINEAR, USUAL) == ONEDNN
        PREFERENCE.measured = {
            (dtype, *like): ways.get(_attention(dtype, *like), FUSED) == PRODUCTS for dtype in _dtypes() for like in products.CLASSES
        }

    def _questions(self) -> dict[str, tuple[str, Callable[[], dict[str, Way]]]]:
        """The usual way of each question, and what makes all its ways."""
        found: dict[str, tuple[str, Callable[[], dict[str, Way]]]] = {LINEAR: (USUAL, _linear)}
        for dtype in _dtypes():
            for like, (t, s, d) in products.CLASSES.items():
                found[_attention(dtype, *like)] = (FUSED, functools.partial(_attend, dtype, t, s, d))
        return found


def machine(device: torch.device, cpuinfo: Path = CPUINFO) -> str:
    """What answers hold for: the processor or GPU, and the version of torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    fields = _fields(cpuinfo)
    names = [fields[name] for name in ("model name", "cpu family", "model") if name in fields]
    model = "/".join(names) or platform.processor() or platform.machine()
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def known_processor(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the rules were measured on a processor like this one: AMD's with bfloat16 (Zen 4 and 5)."""
    fields = _fields(cpuinfo)
    return fields.get("vendor_id") == "AuthenticAMD" and "avx512_bf16" in fields.get("flags", "").split()


def _fields(cpuinfo: Path) -> dict[str, str]:
    try:
        first = cpuinfo.read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def _dtypes() -> list[torch.dtype]:
    return [torch.float32, *([torch.bfloat16] if cpu_computes_bf16() else [])]


def _attention(dtype: torch.dtype, width: str, lengths: str) -> str:
    return f"attention in {str(dtype).removeprefix('torch.')}, {width} heads, {lengths}"


def _linear() -> dict[str, Way]:
    x, weight = torch.randn(_ROWS, _SIDE), torch.randn(_SIDE, _SIDE)
    ways: dict[str, Way] = {USUAL: lambda: F.linear(x, weight)}
    before, packed.PACKING.float32 = packed.PACKING.float32, True
    blocks = packed.pack_linear(weight)
    packed.PACKING.float32 = before
    if blocks.is_mkldnn:
        ways[ONEDNN] = lambda: packed.linear(x, blocks, None)
    return ways


def _attend(dtype: torch.dtype, t: int, s: int, d: int) -> dict[str, Way]:
    q, k, v = (torch.randn(1, 1, n, d).to(dtype) for n in (t, s, s))

    def by_products() -> Tensor | None:
        return products.attend(q, k, v)

    return {FUSED: lambda: F.scaled_dot_product_attention(q, k, v), PRODUCTS: by_products}


def _nothing() -> None:
    return


def _seconds(run: Way) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun
