"""SAM 3's text encoder: short phrases for things to be found, each understood by itself."""
