"""What is measured: PyTorch, ONNX Runtime and engines behind one face."""
