"""The command line of ``tools/gpu-check``."""

from __future__ import annotations

import sys
from pathlib import Path

from gpu_checking import requirements

PROJECT = Path(__file__).parents[2] / "pyproject.toml"

if __name__ == "__main__":
    if unmet := requirements.missing(PROJECT):
        sys.exit(requirements.advice(unmet))
    # Imported only now: these need the packages just checked.
    import typer

    from gpu_checking.course import main

    typer.run(main)
