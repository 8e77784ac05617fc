"""Sound and film as values, and their files through PyAV. Knows no nodes and no models."""
