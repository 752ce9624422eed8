"""Measurements: commands that write benchmarks/results/*.json, and the scripts that draw them."""
