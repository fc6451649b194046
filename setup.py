"""Packaging only: name, version, pinned dependencies, console script. ``./gse`` installs it into .venv.

The pins are tested together and have wheels for Python 3.10 to 3.12 (mininet is source only).
mininet 2.3.0.dev6 imports distutils, which Python 3.12 has only through setuptools.
"""

from setuptools import find_namespace_packages, setup

setup(
    name="gse-testbed",
    version="0.1.0",
    description="Emulate Global Scheduling Ethernet on one machine: all-reduce under ECMP and GSE schedules",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_data={"testbed.fabric": ["wakeups.c"], "testbed.views.report": ["page.css", "page.js"]},
    packages=find_namespace_packages(include=["testbed", "testbed.*", "apps", "apps.*", "scenarios", "scenarios.*"]),
    install_requires=[
        "matplotlib==3.10.9",
        "mininet==2.3.0.dev6",
        "mypy==2.4.1",
        "mypy_extensions==1.2.0",
        "numpy==2.2.6",
        "os-ken==4.2.2",
        "pydantic==2.14.3",
        "PyYAML==6.0.3",
        "rich==15.0.0",
        "scapy==2.8.0",
        "setuptools==80.9.0",
    ],
    extras_require={
        "dev": [
            "coverage==7.16.2",
            "hypothesis==6.168.5",
            "jsonschema==4.26.0",
            "pytest==9.2.0",
            "pytest-randomly==5.0.0",
            "pytest-timeout==2.4.0",
            "pytest-xdist==3.8.0",
            "ruff==0.17.6",
            "types-PyYAML==6.0.12.20261113",
        ],
        "browser": ["axe-playwright-python==0.1.8", "playwright==1.65.2"],  # tests of reports (docs/report.md)
    },
    entry_points={"console_scripts": ["gse = testbed.cli.main:main"]},
)
