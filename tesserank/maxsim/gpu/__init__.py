"""MaxSim and aggregation on a GPU, by kernels in OpenAI's Triton language.

``items`` puts an index's vectors into device memory, ``query`` packs users' tokens, ``scores`` and ``aggregate`` launch
the kernels, ``reference`` computes the same in plain torch, ``bounds`` says how far apart they may be. Nothing here is
imported unless a GPU is asked for: it needs torch and triton. Without a GPU the kernels run in Triton's interpreter,
for tests (``TRITON_INTERPRET=1``, before the import).
"""
