"""Two artefacts on the same users: do their lists agree, which ranks better, which answers sooner.

agreement.py  of two lists: overlap, rank-biased overlap
latency.py    both asked in turn, in this process
compare.py    all of it for two artefacts
report.py     as Markdown
cli.py        tesserank compare
"""
