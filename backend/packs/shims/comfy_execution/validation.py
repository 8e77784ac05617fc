"""Whether an output may feed an input."""

from __future__ import annotations


def validate_node_input(received_type: str, input_type: str, strict: bool = False) -> bool:
    if not received_type != input_type:  # noqa: SIM202 - wildcard types answer to `!=` only
        return True
    if not isinstance(received_type, str) or not isinstance(input_type, str):
        return False
    received = {t.strip() for t in received_type.split(",")}
    declared = {t.strip() for t in input_type.split(",")}
    return received.issubset(declared) if strict else bool(received & declared)
