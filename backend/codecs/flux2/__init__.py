"""The autoencoder of Flux 2: a KL autoencoder whose latents come in patches of two by two, normalised channel by channel."""
