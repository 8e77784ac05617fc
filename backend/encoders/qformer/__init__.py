"""A Q-Former: what a picture holds of a subject named in words, as vectors for a prompt (BLIP-Diffusion)."""
