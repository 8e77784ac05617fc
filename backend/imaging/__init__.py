"""Tensor arithmetic on pictures, masks and latents: resizing, masks, compositing, filters.

No node, no file and no model lives here; everything is a pure function of tensors. Layouts are named in each docstring:
images are `[B, H, W, C]` in 0..1, masks `[B, H, W]`, and the planar form `[B, C, H, W]` serves latents and resampling.
"""
