"""What is cheap to learn: which spaces a history is scored in, how each is made and aggregated, and what it weighs.

cases.py      whom to predict a next item for, on a log that has not seen it
candidates.py the spaces that may be used, learned from that log
scoring.py    what a space says of all items, for every case
choice.py     choosing between settings without fooling oneself
search.py     the order in which things are chosen
record.py     what was chosen, as a segments file and as a table
steps.py      the step of an export
tracking.py   a fit as experiment trackers see it

docs/fit.md describes it.
"""
