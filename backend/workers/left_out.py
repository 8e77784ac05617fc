"""Node packs that a worker did not survive importing: later workers of this start of the server leave them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping

from backend.workers.death import Death

_VARIABLE = "EMULSION_PACKS_LEFT_OUT"


def read(environ: Mapping[str, str]) -> dict[str, str]:
    """Name -> why, as a worker finds it in its environment."""
    found: dict[str, str] = json.loads(environ.get(_VARIABLE, "{}"))
    return found


class Suspects:
    """`environ` is that of the next worker. A process killed from outside proves nothing the first time: the machine may be at fault."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._out = read(environ)
        self._seen: set[str] = set()

    def blame(self, pack: str, death: Death) -> str | None:
        """The worker died while it imported this pack. Why the pack is left out from now on, or None when it is tried again."""
        if death.kind == "killed" and pack not in self._seen:
            self._seen.add(pack)
            return None
        self._out[pack] = f"The worker process did not survive its import: {death.cause} It is left out until the server is started again."
        self._environ[_VARIABLE] = json.dumps(self._out)
        return self._out[pack]
