"""The autoencoder of Qwen Image 2.1: 64 channels, a sixteenth of a picture's sides, transparency."""
