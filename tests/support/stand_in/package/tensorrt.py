"""The stand-in under TensorRT's own name, for this process and those that it starts.

With this folder first on the path, `import tensorrt` gives the strict TensorRT on real CUDA.
"""

from stand_in.network import StandIn

STAND_IN = StandIn()
globals().update(vars(STAND_IN.module))
