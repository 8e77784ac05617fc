"""The net of Flux under its published name."""

from backend.families.flux.net import FluxNet as Flux

__all__ = ["Flux"]
