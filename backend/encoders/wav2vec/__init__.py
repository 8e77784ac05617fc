"""What speech sounds like, in vectors (wav2vec 2.0)."""
