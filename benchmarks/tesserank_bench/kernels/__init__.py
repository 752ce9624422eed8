"""``tesserank bench kernels``: MaxSim and the encoder against what the machine can do, and against other libraries."""
