"""Weight files as read-only mappings of lazy tensors: reading, recognising, renaming, saving. No nets, no device policy."""
