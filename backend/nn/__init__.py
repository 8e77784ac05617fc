"""Layers and blocks that networks are built of. Knows no model family, no file and no device policy."""
