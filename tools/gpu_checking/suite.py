"""Runs the tests that are marked ``gpu``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

from ffstream.errors import FFStreamError
from gpu_checking.report import Row
from gpu_checking.site import Site

ROOT = Path(__file__).parents[2]
# A test's line under ``pytest -v``.
LINE = re.compile(r"^(tests/\S+?)::(.+?) (PASSED|FAILED|ERROR|SKIPPED)")


def tests(site: Site) -> Generator[Row]:
    """Run the tests marked gpu, compiling ones last; on a CPU they skip themselves."""
    files = [file for file in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    compiling = [file for file in files if "fuse(" in file.read_text("utf-8")]
    failed = skipped = 0
    for part in ([file for file in files if file not in compiling], compiling):
        for file, counts, wrong in _run(part):
            figures = {name: counts[name] for name in ("passed", "failed", "error", "skipped")}
            yield Row(file, {**figures, **({"which": "; ".join(wrong)} if wrong else {})})
            failed, skipped = failed + len(wrong), skipped + counts["skipped"]
    if failed:
        raise FFStreamError(f"{failed} tests failed; see log.txt")
    if skipped and not site.dry:
        raise FFStreamError(f"{skipped} tests were skipped on a GPU; see log.txt")


def _run(files: list[Path]) -> list[tuple[str, Counter[str], list[str]]]:
    """Run some test files in one process; return each file with its counts by outcome and its failed tests."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="\n")
    found = [match for line in done.stdout.splitlines() if (match := LINE.match(line))]
    if not found:
        raise FFStreamError(f"no test ran, pytest ended with code {done.returncode}; see log.txt")
    told = []
    for file in dict.fromkeys(match[1] for match in found):
        of_file = [match for match in found if match[1] == file]
        wrong = [match[2] for match in of_file if match[3] in ("FAILED", "ERROR")]
        told.append((file, Counter(match[3].lower() for match in of_file), wrong))
    return told
