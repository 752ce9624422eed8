"""The technique as it was first proposed, step by step, on the case study that it was proposed with."""
