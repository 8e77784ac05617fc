"""The causal autoencoder of films and pictures that SeedVR2 came with."""
