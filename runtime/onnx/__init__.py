"""An ONNX file: run by ONNX Runtime, or read without the onnx package."""
