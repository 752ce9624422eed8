"""Build time: checkpoint + catalogue + events → ONNX graphs, item index, manifest. Serving imports none of this."""
