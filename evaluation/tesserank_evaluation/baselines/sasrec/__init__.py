"""SASRec: self-attention over the sequence of a user's items, trained here.

model.py     the network
batches.py   the log as sequences, and these in batches without much padding
training.py  epochs, resumable: the state after each is kept in a file
fitting.py   how many epochs, by held-out items; then the whole log
"""
