"""The GPU kernels on the GPU: the table of shapes, against measured ceilings and other libraries."""
