"""T5 encoders: T5, T5 v1.1, UMT5 and Pile-T5, the net, the handle that travels on a CLIP wire, and how files are recognised."""
