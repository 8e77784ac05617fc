"""The asymmetric autoencoder: a larger decoder that can be shown the picture around what was painted anew."""
