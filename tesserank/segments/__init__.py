"""Segments: what a user's context is cut into, and by which rules."""
