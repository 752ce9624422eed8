"""Fine-tuning the cross-encoder that ``tesserank evaluate --with cross-encoder`` asks.

network.py   backbone and pair head, as a module that learns
examples.py  what it learns from: next items of the log against what late interaction has beside them
training.py  steps, resumable
command.py   python -m tesserank_bench.finetune
"""
