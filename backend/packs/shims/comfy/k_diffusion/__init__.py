"""Sampler functions of the k-diffusion shape."""
