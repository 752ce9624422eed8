"""Searching a whole catalogue of up to 100,000 items: pruned against exhaustive."""
