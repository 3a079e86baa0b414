"""What NVIDIA states that its GPUs do at most: data for estimates, dense (without sparsity).

The tables of NVIDIA's architecture whitepapers (appendix A of GA102, V2.1; Ada, V2.02; RTX
Blackwell) and the data sheets of its workstation cards. Where these give a rate with sparsity
alone, half of it stands here. A whitepaper that leaves a card out is filled in from the card's
multiprocessors and boost clock by the same rule (1024 FP16 operations a clock and multiprocessor);
`source` says so.

GeForce cards accumulate FP16 products in FP16 at twice the rate of FP32; workstation cards do both
at the same rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

T, G = 1e12, 1e9


@dataclass(frozen=True)
class Gpu:
    """memory: bytes/s. fp32: operations/s without tensor cores (TF32 is off by default).
    fp16_sum_fp32, fp16_sum_fp16, int8: operations/s of tensor cores, by what they accumulate in;
    an operation is a multiplication or an addition. source: where the numbers are from."""

    memory: float
    fp32: float
    fp16_sum_fp32: float
    fp16_sum_fp16: float
    int8: float
    source: str


GPUS = MappingProxyType(
    {
        "rtx-3060": Gpu(
            *(360 * G, 12.7 * T, 25.5 * T, 51.0 * T, 102 * T),
            "NVIDIA's page of the card (12 GB): 28 multiprocessors at 1.78 GHz, 360 GB/s; rates by "
            "the rule of the GA102 whitepaper",
        ),
        "rtx-4060": Gpu(
            *(272 * G, 15.1 * T, 30.2 * T, 60.5 * T, 121 * T),
            "NVIDIA's page of the card: 24 multiprocessors at 2.46 GHz, 272 GB/s; rates by the "
            "rule of the Ada whitepaper",
        ),
        "rtx-4090": Gpu(
            *(1008 * G, 82.6 * T, 165.2 * T, 330.3 * T, 660.6 * T),
            "NVIDIA Ada GPU architecture whitepaper",
        ),
        "rtx-5090": Gpu(
            *(1792 * G, 104.8 * T, 209.5 * T, 419 * T, 838 * T),
            "NVIDIA RTX Blackwell GPU architecture whitepaper",
        ),
        "rtx-a4000": Gpu(
            *(448 * G, 19.2 * T, 76.7 * T, 76.7 * T, 153.4 * T),
            "NVIDIA RTX A4000 data sheet: 448 GB/s, 153.4 tensor TFLOPS with sparsity",
        ),
        "rtx-6000-ada": Gpu(
            *(960 * G, 91.1 * T, 364.2 * T, 364.2 * T, 728.5 * T),
            "NVIDIA RTX 6000 Ada data sheet: 960 GB/s, 1457 FP8 tensor TFLOPS with sparsity",
        ),
    }
)
USUAL = "rtx-4090"  # the one that `build` names
