"""The notes in the header of a safetensors file, without touching its tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from backend.base.errors import BadFile

MOST_HEADER = 100 << 20


def safetensors_metadata(path: Path) -> dict[str, Any] | None:
    """The `__metadata__` object, or None where there is none. Raises BadFile when the header is damaged."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MOST_HEADER:
                raise BadFile(f"{path.name} is not a safetensors file: it claims a header of {length:,} bytes.", file=path)
            header = json.loads(file.read(length))
    except (OSError, ValueError, struct.error, RecursionError) as error:
        raise BadFile(f"The header of {path.name} cannot be read: {error}.", hint="Copy or download the file again.", file=path) from error
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else None
