"""Stable Diffusion 1 and its relatives that share the UNet."""
