"""Autoencoders between pixels and latents. One folder each: the net, its spec, its other names."""
