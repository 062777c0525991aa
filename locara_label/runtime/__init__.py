"""Graph and weights to a session that runs: the only home of ONNX Runtime."""
