"""An engine of TensorRT or TensorRT-RTX: loaded, checked against this machine, run in lanes."""
