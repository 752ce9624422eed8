"""The same harness on a chosen device: the engine torch beside the cross-encoder on the same backbone."""
