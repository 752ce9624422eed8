"""``tesserank bench latency``: one real Triton server, every path on the same users and candidates, interleaved."""
