"""The request path, free of Triton: requests → segments → scores. The repository's models only unpack tensors."""
