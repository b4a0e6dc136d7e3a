"""Installs the package `blitznet`; the scripts beside it run from the checkout."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read_version():
    """`__version__` of `blitznet/__init__.py`, read as text: an import may need TensorFlow."""
    source = HERE / "blitznet" / "__init__.py"
    found = re.search(r'^__version__ = "([^"]+)"$', source.read_text(encoding="utf-8"), re.M)
    if not found:
        raise RuntimeError(f'{source}: expected a line like __version__ = "0.1.0"')
    return found.group(1)


def read_readme():
    """The text of README.md, or nothing when a source archive comes without it."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="blitznet",
    version=read_version(),
    description="BlitzNet in TensorFlow 2 / Keras: detection and segmentation in one network",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    author="BlitzNet-TF2 authors",
    license="MIT",
    packages=find_packages(include=["blitznet", "blitznet.*"]),
    python_requires=">=3.9",
    install_requires=[
        "tensorflow>=2.15,<2.22",
        "tensorboard",  # TensorFlow 2.21 does not bring it
        "numpy",
        "opencv-python",
        "pycocotools",
        "tabulate",
        "progressbar2",
        "pillow>=10.1",
    ],
    extras_require={
        "addons": [
            "tensorflow==2.15.*",
            "tensorflow-addons==0.23.*",
            "numpy<2",
            "opencv-python<4.12",  # later ones need NumPy 2
            "onnx<1.17",  # for [onnx]: later ones need an ml_dtypes that TensorFlow 2.15 has not
            "setuptools<81",  # tensorboard 2.15 imports pkg_resources
        ],
        "plot": ["matplotlib"],
        "sbd": ["scipy"],
        "serve": ["starlette", "uvicorn", "prometheus-client", "orjson", "requests"],
        "tflite": ["ai-edge-litert"],
        "onnx": ["onnx", "onnxruntime", "tf2onnx"],
        "openvino": ["openvino"],
        "web": ["gradio>=6,<7; python_version >= '3.10'"],  # Gradio 6 has no earlier Python
        "dev": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "pre-commit",
            "pre-commit-hooks",
            "scipy",  # tests write .mat files
            "playwright",  # drives the chromium of the system
            "pyyaml",  # tests parse the examples of docs/
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
