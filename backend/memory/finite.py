"""Numbers that are none (NaN, infinity): seen when a node that ran a net is done, traced to a layer, avoided in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.memory.pool import Loadable, Pool, title

_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Origin:
    """The first layer whose output held a number that is none though its input did not."""

    net: str
    layer: str
    dtype: str

    def sentence(self) -> str:
        """For logs and errors."""
        return f"the layer {self.layer or '(the whole)'} of {self.net} made values that are no numbers, computing in {self.dtype}"


class _Found(Exception):
    def __init__(self, origin: Origin) -> None:
        self.origin = origin


class Finite:
    """Looks after the results of nodes that ran nets of `pool`; those of other nodes cost nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._mark = pool.served

    def begin(self) -> None:
        """A node is about to be called."""
        self._mark = self._pool.served

    def is_sound(self, results: Any) -> bool:
        """Whether every tensor in `results` is finite; not looked at when no net was used since `begin`."""
        return self._pool.served == self._mark or all_finite(results)

    def origin(self, again: Callable[[], Any]) -> Origin | None:
        """Call `again`, up to the layer where it goes wrong; None when it did not this time."""
        self._pool.watch = _watched
        try:
            again()
        except _Found as found:
            return found.origin
        finally:
            self._pool.watch = None
        return None

    def in_float32(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The inputs with every net that computes in less made to compute in float32; None when there is none."""
        changed = {name: tuple(_upcast(value) for value in values) for name, values in given.items()}
        same = all(a is b for name in given for a, b in zip(given[name], changed[name]))
        return None if same else changed


def all_finite(value: Any, depth: int = 0) -> bool:
    """Whether every floating tensor in nested lists, tuples and dicts is finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if depth == _DEEPEST:
        return True
    if isinstance(value, (list, tuple)):
        return all(all_finite(v, depth + 1) for v in value)
    if isinstance(value, dict):
        return all(all_finite(v, depth + 1) for v in value.values())
    return True


def _upcast(value: Any) -> Any:
    """A handle whose `Loadable`s, however deep, are to be computed in float32; anything else as it is."""
    if isinstance(value, Loadable):
        if value.dtype not in (torch.float16, torch.bfloat16):
            return value
        return replace(value, key=f"{value.key}~float32", dtype=torch.float32)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        made = tuple(_upcast(v) for v in value)
        return made if any(a is not b for a, b in zip(made, value)) else value
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {}
    for f in fields(value):
        if f.init and (new := _upcast(old := getattr(value, f.name))) is not old:
            changed[f.name] = new
    return replace(value, **changed) if changed else value


@contextmanager
def _watched(loadable: Loadable, net: nn.Module) -> Iterator[None]:
    with ExitStack() as hooks:
        for name, module in net.named_modules():
            if next(module.children(), None) is None:
                handle = module.register_forward_hook(_look(title(loadable.key), name))
                hooks.callback(handle.remove)
        yield


def _look(net: str, layer: str) -> Callable[[nn.Module, Any, Any], None]:
    def look(module: nn.Module, given: Any, made: Any) -> None:
        if not all_finite(made) and all_finite(given):
            tensor = next((v for v in (made if isinstance(made, (list, tuple)) else (made,)) if isinstance(v, Tensor)), None)
            raise _Found(Origin(net, layer, str(tensor.dtype if tensor is not None else "?").removeprefix("torch.")))

    return look
