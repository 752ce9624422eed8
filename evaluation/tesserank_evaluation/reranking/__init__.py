"""A cross-encoder that re-ranks tesserank's own best items: what late interaction is measured against.

pairs.py      what it reads of a user and an item
finetuned.py  a fine-tuned one on disk, and what it was tuned on (python -m tesserank_bench.finetune makes it)
contender.py  the contender: quality, and milliseconds a user beside it
"""
