"""How good a network, an ONNX file or an engine is on labelled images."""
