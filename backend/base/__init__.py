"""What every room may use: typed errors, events, settings, paths, strict JSON. No torch; nothing happens at import."""
