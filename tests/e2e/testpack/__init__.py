"""A node pack in class form whose nodes misbehave on demand; the protocol and kill tests load it as a custom_nodes folder."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

ANY_INT = ("INT", {"default": 0, "min": -(2**63), "max": 2**63})


class Any_(str):
    """A wildcard type: equal to every other."""

    def __ne__(self, other: object) -> bool:
        return False


class TestAdd:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ANY_INT, "b": ANY_INT}}

    def run(self, a: int, b: int) -> tuple[int]:
        return (a + b,)


class TestSink:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": (Any_("*"), {})}}

    def run(self, a: Any) -> dict[str, Any]:
        return {}


class TestShow:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", ("INT",), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ANY_INT}, "hidden": {"extra": "EXTRA_PNGINFO", "id": "UNIQUE_ID"}}

    def run(self, a: int, extra: Any = None, id: str = "") -> dict[str, Any]:
        return {"ui": {"text": [str(a)]}, "result": (a,)}


class TestSleep:
    """Sleeps in small steps and looks for a cancel; `deaf` sleeps in one piece."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        seconds = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1000.0})
        return {"required": {"seconds": seconds, "deaf": ("BOOLEAN", {"default": False}), "seed": ANY_INT}}

    def run(self, seconds: float, deaf: bool, seed: int) -> tuple[int]:
        from backend.engine.call import CURRENT

        ctx = CURRENT.get()
        assert ctx is not None
        if deaf:
            time.sleep(seconds)
            return (seed,)
        steps = max(1, int(seconds / 0.05))
        for step in range(steps):
            time.sleep(seconds / steps)
            ctx.progress(step + 1, steps)
        return (seed,)


class TestDie:
    """Ends or harms the process in the way that is asked for; with `once` only if the flag file does not exist yet."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        ways = ["segv", "kill", "exit", "sys.exit", "hang", "raise", "memory", "recursion"]
        return {"required": {"how": (ways, {}), "once": ("STRING", {"default": ""}), "seed": ANY_INT}}

    def run(self, how: str, once: str, seed: int) -> tuple[int]:
        if once:
            if Path(once).exists():
                return (seed,)
            Path(once).touch()
        if how == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "exit":
            os._exit(3)
        elif how == "sys.exit":
            sys.exit(3)
        elif how == "hang":
            ctypes.PyDLL(None).usleep(600_000_000)
        elif how == "memory":
            raise MemoryError("cannot allocate 1 TB")
        elif how == "recursion":
            return self.run(how, once, seed)
        raise RuntimeError("as asked")


class TestPrint:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {}), "times": ANY_INT}}

    def run(self, text: str, times: int) -> tuple[int]:
        for _ in range(times):
            print(text)
        return (times,)


class TestExpand:
    """Becomes `n` additions in a row."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ANY_INT, "n": ANY_INT}, "hidden": {"id": "UNIQUE_ID"}}

    def run(self, a: int, n: int, id: str) -> dict[str, Any]:
        graph: dict[str, Any] = {}
        value: Any = a
        for i in range(n):
            graph[f"{id}.0.0.{i}"] = {"class_type": "TestAdd", "inputs": {"a": value, "b": 1}}
            value = [f"{id}.0.0.{i}", 0]
        return {"result": (value,), "expand": graph}


class TestChecked:
    """Has its own validation, and choices that follow a file (a pack's dynamic INPUT_TYPES)."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        file = Path(__file__).parent / "choices.txt"
        return {"required": {"n": ANY_INT, "choice": (file.read_text().split() if file.exists() else ["first"], {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, n: int) -> bool | str:
        return True if n % 2 == 0 else f"{n} is odd"

    def run(self, n: int, choice: str) -> dict[str, Any]:
        return {}


class TestPreview:
    """Sends `n` pictures as previews, PNG when asked."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"n": ANY_INT, "format": (["jpeg", "png"], {}), "seed": ANY_INT}}

    def run(self, n: int, format: str, seed: int) -> dict[str, Any]:
        from backend.engine.call import CURRENT
        from backend.engine.context import Preview

        ctx = CURRENT.get()
        assert ctx is not None
        for i in range(n):
            ctx.progress(i + 1, n, Preview(lambda i=i: (format, f"picture {i}".encode())))
        ctx.text("some text")
        return {}


NODE_CLASS_MAPPINGS = {
    cls.__name__: cls for cls in (TestAdd, TestSink, TestShow, TestSleep, TestDie, TestPrint, TestExpand, TestChecked, TestPreview)
}
NODE_DISPLAY_NAME_MAPPINGS = {"TestAdd": "Add (test)"}
WEB_DIRECTORY = "./web"
