"""Installs `currents`: the folders that workers run, and nothing else."""

from setuptools import find_packages, setup

SHIPPED = ["pipeline", "transforms", "runtime", "sinks", "schemas"]

setup(
    name="currents-pipeline",
    version="0.1.0",
    description="Exports engagement events from Pub/Sub to partners, and loses none of them.",
    python_requires=">=3.10",
    packages=find_packages(include=[name for top in SHIPPED for name in (top, f"{top}.*")]),
    package_data={"": ["py.typed", "*.json"]},
    install_requires=[
        "aiohttp>=3.10,<4",
        "apache-beam[gcp]>=2.77,<2.78",
        "click>=8.1,<9",
        "cramjam>=2.8,<3",
        "fastavro>=1.9,<2",
        "fsspec>=2024.6",
        "gcsfs>=2024.6",
        "google-cloud-pubsub>=2.21,<3",
        "google-cloud-secret-manager>=2.20,<3",
        "msgspec>=0.19,<1",
        "PyYAML>=6,<7",
        "rich>=13,<16",
        "typing_extensions>=4.10",
        "urllib3>=2,<3",
    ],
    extras_require={
        "s3": ["s3fs>=2024.6"],
        "azure": ["adlfs>=2024.4"],
        "sandbox": ["grpcio>=1.62"],
        # Has wheels for these only; without it hostile inputs are mutated, but not guided by coverage.
        "fuzz": ["atheris>=3,<4;sys_platform=='linux' and python_version>='3.11'"],
        "dev": [
            "axe-playwright-python>=0.1.6",
            "backports.zstd>=1;python_version<'3.14'",
            "gcp-storage-emulator>=2024.8",
            "grpcio>=1.62",
            "hypothesis>=6.100",
            "import-linter>=2.1",
            "lz4>=4",
            "moto[server]>=5",
            "mypy>=1.15",
            "orjson>=3.10,<4",
            "pillow>=11",
            "playwright>=1.50",
            "pyte>=0.8.2",
            "pytest>=8.3",
            "python-hcl2>=8",
            "requests>=2.32,<3",
            "ruff>=0.14",
            "s3fs>=2024.6",
            "setuptools>=68",
            "trustme>=1.2",
            "types-PyYAML",
            "types-protobuf",
            "types-requests",
            "types-setuptools",
        ],
    },
    entry_points={"console_scripts": ["currents=pipeline.__main__:main"]},
)
