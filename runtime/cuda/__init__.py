"""CUDA: the interface (gpu.py), its two implementations, and frames that already lie on the GPU."""
