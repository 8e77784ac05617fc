"""Depth of pictures (Depth Anything 1 and 2, DPT of MiDaS 3): a vision transformer and a head that puts its layers together."""
