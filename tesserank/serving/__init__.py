"""The request path, free of Triton: users' requests → segments → scores. The models of the repository only unpack tensors."""
