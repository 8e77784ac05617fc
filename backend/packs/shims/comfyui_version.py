"""The published version this layer answers for."""

__version__ = "0.3.64"
