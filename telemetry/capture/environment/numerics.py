"""What decides the last bits of a training: libraries in use and switches of torch."""

import sys
from importlib import metadata

import torch

from telemetry.capture.isolation.contained import contained
from telemetry.json_values import Json

VERSION_LIMIT = 60  # characters
# Modules that compute, or decide what is computed, and the distributions they come in.
LIBRARIES = {
    "PIL": "pillow",
    "accelerate": "accelerate",
    "albumentations": "albumentations",
    "apex": "apex",
    "bitsandbytes": "bitsandbytes",
    "cv2": "opencv-python",
    "datasets": "datasets",
    "deepspeed": "deepspeed",
    "diffusers": "diffusers",
    "flash_attn": "flash-attn",
    "kornia": "kornia",
    "lightning": "lightning",
    "monai": "monai",
    "numpy": "numpy",
    "pandas": "pandas",
    "peft": "peft",
    "pytorch_lightning": "pytorch-lightning",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "tokenizers": "tokenizers",
    "torch_geometric": "torch-geometric",
    "torchaudio": "torchaudio",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "triton": "triton",
    "xformers": "xformers",
}


def library_versions() -> dict[str, Json]:
    """Versions of the libraries that have been imported, by distribution; imports none."""
    found: dict[str, Json] = {}
    for module, distribution in LIBRARIES.items():
        version = _version(module, distribution) if module in sys.modules else ""
        if version:
            found[distribution] = version[:VERSION_LIMIT]
    return found


def switches() -> dict[str, Json]:
    """Switches of torch that change results or their reproducibility; starts no device."""
    found: dict[str, Json] = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
    }
    with contained(_ignore):  # torch refuses to tell one where its newer name was set
        found["matmul_precision"] = torch.get_float32_matmul_precision()
    with contained(_ignore):
        found["cudnn_benchmark"] = torch.backends.cudnn.benchmark
        found["cudnn_deterministic"] = torch.backends.cudnn.deterministic
    return found


def _version(module: str, distribution: str) -> str:
    # Not getattr: modules that load their parts late would import one.
    own = vars(sys.modules[module]).get("__version__")
    if isinstance(own, str):
        return own
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _ignore(error: Exception) -> None:
    del error
