"""What lives on the device: facts about it, pure placement decisions, and the pool that carries them out."""
