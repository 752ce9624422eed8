"""Build time: checkpoint + catalogue + events → ONNX graphs, item index, manifest. Nothing imports this at serving time."""
