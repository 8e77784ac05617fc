"""Encoders of text, vision and audio, a folder each: what the files look like, the net, and the handle that travels on a wire."""
