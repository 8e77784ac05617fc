"""The consistency decoder: a UNet that paints the pixels of a latent in two steps."""
