"""ControlNets for Flux."""

from __future__ import annotations

from backend.control.flux.spec import FluxKind

KINDS = (FluxKind(),)
