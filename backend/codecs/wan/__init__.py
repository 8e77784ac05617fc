"""The causal autoencoder of films and pictures that Wan 2.1 and Qwen Image share."""
