"""Tiny autoencoders (TAESD and its kin): the latents of large ones, coded in milliseconds and a few megabytes."""
