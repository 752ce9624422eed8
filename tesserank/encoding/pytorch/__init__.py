"""The segment encoder in PyTorch, for GPUs: rows packed without padding, replayed from CUDA graphs.

``packing`` lays rows out, ``attention`` lets a transformers model attend within each of them, ``model`` puts backbone,
projection and normalisation together, ``files`` is what an export leaves for it, ``graphs`` captures a bucket of
shapes, ``runner`` runs a module on them. ``engine`` is what is served, ``pairs`` the cross-encoder that it is measured
beside. None of it is imported unless this engine is asked for: it needs torch and
transformers. Everything but the capture itself is the same code on a CPU, where tests run it.
"""
