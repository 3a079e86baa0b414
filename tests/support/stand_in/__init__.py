"""A network on real CUDA that stands in for TensorRT: kernels, and the strict TensorRT over them."""
