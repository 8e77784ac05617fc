"""CLIP text encoders: vocabulary, prompt syntax, chunks, the net, and the handle that travels on a CLIP wire. Knows no denoiser."""
