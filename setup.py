"""Distribution metadata: the base is what the runtime needs, the extras are the stages."""

from pathlib import Path

from setuptools import find_packages, setup

# Elsewhere onnxruntime-gpu has wheels for few systems or none, and onnxruntime serves, on the CPU.
HAS_GPU_WHEELS = "(platform_machine == 'x86_64' or platform_machine == 'AMD64')"
HAS_GPU_WHEELS += " and sys_platform != 'darwin'"
HAS_NONE = "(platform_machine != 'x86_64' and platform_machine != 'AMD64')"
HAS_NONE += " or sys_platform == 'darwin'"
TRAIN = ["torch>=2.9", "safetensors>=0.5", "pillow>=10", "pyyaml>=6"]
# 1.25 is the first whose CUDA provider has the kernels that our graphs need. The last for Python
# 3.10, which JetPack 6 has, is 1.23.2; its CUDA provider is refused.
ONNXRUNTIME = [
    f"onnxruntime-gpu>=1.25; ({HAS_GPU_WHEELS}) and python_version >= '3.11'",
    f"onnxruntime-gpu>=1.23; ({HAS_GPU_WHEELS}) and python_version < '3.11'",
    f"onnxruntime>=1.23; {HAS_NONE}",
]

EXPORT = [*TRAIN, "onnx>=1.19", "onnxscript>=0.5", *ONNXRUNTIME]

ROOMS = ("refinenet", "export", "runtime", "benchmarks")

setup(
    name="refinenet-deploy",
    version="0.1.0",
    description="Trained RefineNet weights to TensorRT engines that still see what PyTorch saw",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[f"{name}*" for name in ROOMS]),
    package_data={
        "refinenet": ["weights/*"],
        "runtime": ["py.typed"],
        "benchmarks.records": ["record.schema.json"],
        "benchmarks.page": ["page.css"],
    },
    install_requires=["numpy>=1.26", "opencv-python-headless>=4.8", "tqdm>=4.66"],
    extras_require={
        "train": TRAIN,
        "tensorboard": ["tensorboard>=2.17"],
        "export": EXPORT,
        "onnxruntime": ONNXRUNTIME,
        "onnxruntime-cpu": ["onnxruntime>=1.23"],
        "onnxruntime-rtx": [*ONNXRUNTIME, "onnxruntime-ep-nv-tensorrt-rtx-cu13>=0.5"],
        "rtx": ["tensorrt-rtx-cu13>=1.7,<1.8"],
        "tensorrt": ["tensorrt>=10.3,<12"],
        "cuda12": ["cuda-python>=12.6,<13"],
        "cuda13": ["cuda-python>=13,<14"],
        "pycuda": ["pycuda>=2024.1"],
        "triton": ["tritonclient[grpc]>=2.60"],
        "ray": ["ray[data]>=2.50"],
        "bench": [*EXPORT, "nvidia-ml-py>=12"],
        "dev": [
            *EXPORT,
            "pytest>=8",
            "hypothesis>=6",
            "ruff>=0.14",
            "mypy>=1.18",
            "import-linter>=2.5",
            # Compiles the kernels of tests/support/stand_in, without a GPU too.
            "nvidia-cuda-nvrtc>=13,<14; sys_platform == 'linux'",
        ],
    },
    entry_points={"console_scripts": ["refinenet = refinenet.__main__:main"]},
)
