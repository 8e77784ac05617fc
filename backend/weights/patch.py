"""A patch: one change to one weight of a net. Handles collect them; at a lease they become the deltas of the slots."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.weights.slot import Delta


@dataclass(frozen=True)
class Patch:
    """Changes the net parameter `key` by `delta`, which already contains the strength.

    Two patches are equal when key, strength and fingerprint are, whatever their code; the fingerprint names the content (the file
    and the module inside it).
    """

    key: str
    strength: float
    fingerprint: str
    delta: Delta = field(compare=False, repr=False)


def by_key(patches: Iterable[Patch]) -> Mapping[str, tuple[Delta, ...]]:
    """The deltas of each net parameter, in the order the patches were added."""
    deltas: dict[str, tuple[Delta, ...]] = {}
    for patch in patches:
        deltas[patch.key] = (*deltas.get(patch.key, ()), patch.delta)
    return deltas


def fingerprint(patches: Iterable[Patch]) -> str:
    """What these patches do, in order, as a short digest; "" when there are none."""
    digest, any_patch = hashlib.blake2b(digest_size=16), False
    for patch in patches:
        any_patch = True
        digest.update(f"{patch.key}\0{patch.strength!r}\0{patch.fingerprint}\0".encode())
    return digest.hexdigest() if any_patch else ""
