"""A network on real CUDA in the place of TensorRT: its kernels under the strict TensorRT."""
