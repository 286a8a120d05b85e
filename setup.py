"""Packaging of mmlearngene: a plain-torch core, and extras for the OpenMMLab side and for development."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """The version, read without importing the package."""
    return re.search(r'__version__ = "(.+)"', (ROOT / "mmlearngene" / "version.py").read_text())[1]


CORE = ["torch>=2.6", "numpy", "safetensors>=0.4", "timm>=1.0.31,<2", "pydantic>=2.5", "scikit-learn", "rich>=13"]
HF = ["transformers>=5.20"]
MM = [
    "torchvision",
    "onedl-mmengine>=0.10.8",
    "onedl-mmcv>=2.3",
    "onedl-mmpretrain>=1.3",
    "onedl-mmsegmentation>=1.3.1",
    "ftfy",  # imported by mmsegmentation's text encoders
    "regex",
    "matplotlib",
    "jinja2",
]
ONNX = ["onnx>=1.17", "onnxruntime>=1.20"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"]
DEV = ["nbclient", "ipykernel", "pytest", "pytest-xdist", "hypothesis", "ruff", "cityscapesscripts"]

setup(
    name="mmlearngene",
    version=version(),
    description="Vision Transformers of many sizes, initialised from one learngene",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["mmlearngene", "mmlearngene.*"]),
    # .mim is what OpenMMLab's tools look into (mim, mmengine's "mmlearngene::"): links to the folders at the top
    package_data={
        "mmlearngene": [".mim/model-index.yml", ".mim/configs/**/*", ".mim/tools/*", ".mim/tools/analysis_tools/*"]
        + [".mim/tools/prepare_datasets/*"],
        "mmlearngene.use": ["family.html.j2"],
    },
    license="Apache-2.0",
    python_requires=">=3.10",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)],  # those that were tried
    package_dir={"": "."},  # an editable install is then a path, which a folder named mmlearngene does not hide
    install_requires=CORE,
    extras_require={"mm": MM, "hf": HF, "onnx": ONNX, "docs": DOCS, "dev": [*DEV, *HF, *ONNX, *DOCS]},
    entry_points={"console_scripts": ["mmlearngene = mmlearngene.cli:main"]},
)
