"""What the README says is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_python_example_runs_as_it_stands(start_daemon):
    daemon = start_daemon(network={"shape": [28, 28], "hidden": [32, 32]})
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example.replace("127.0.0.1:5700", daemon.address), "README.md", "exec"), {})


def test_its_tree_names_only_files_that_exist():
    (tree,) = re.findall(r"```\n(ffstream/\n.*?)```", README, re.DOTALL)
    folder = ""
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        names = re.findall(r"[\w/-]+\.(?:py|md)|^ *[\w/]+/|tools/check", line.split("   ")[0] if depth == 0 else line)
        for name in (name.strip() for name in names):
            if name.endswith("/") and depth == 4:
                assert (ROOT / folder / name).is_dir(), folder + name
            elif name.endswith("/"):
                folder = name if depth == 0 else f"ffstream/{name}"
                assert (ROOT / folder).is_dir(), folder
            else:
                base = "ffstream/" if depth == 2 else folder if depth == 4 else ""
                assert (ROOT / base / name).is_file(), base + name


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
