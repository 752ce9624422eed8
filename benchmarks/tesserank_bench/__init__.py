"""Benchmarks of tesserank: ``tesserank bench NAME``. What each figure is: docs/benchmarks.md."""
