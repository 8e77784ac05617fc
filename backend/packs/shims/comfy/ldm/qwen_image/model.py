"""Rotary positions, and attention."""

from comfy.ldm.flux.math import apply_rope1 as apply_rotary_emb
from comfy.ldm.modules.attention import optimized_attention, optimized_attention_masked

__all__ = ["apply_rotary_emb", "optimized_attention", "optimized_attention_masked"]
