"""Late interaction: MaxSim of segments with items, and the aggregation of segment scores into one score.

``reference`` says what is computed, in float64 and without tricks; ``cpu`` computes it fast; tests hold them together.
"""
