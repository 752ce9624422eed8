"""How an index stores item vectors: bytes of an item against agreement with float32 vectors."""
