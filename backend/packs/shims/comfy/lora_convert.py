"""Spellings of adapter files are read as they are."""

from __future__ import annotations

from typing import Any


def convert_lora(sd: Any) -> Any:
    return sd
