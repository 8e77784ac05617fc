"""Attention under the name that packs reach here."""

from comfy.ldm.modules.attention import optimized_attention

__all__ = ["optimized_attention"]
