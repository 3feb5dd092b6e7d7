"""What the README says is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


def test_its_images_are_shown_on_pypi_too():
    images = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert images
    for image in images:
        home, _, file = image.partition("/raw/main/")
        assert home == PROJECT["urls"]["Repository"]
        assert (ROOT / file).is_file(), image


def test_every_address_of_the_project_is_of_its_repository():
    home = PROJECT["urls"]["Repository"]
    assert all(url.startswith(home) for url in PROJECT["urls"].values())


def test_it_names_the_range_of_torch_that_is_installed():
    (torch,) = (one for one in PROJECT["optional-dependencies"]["daemon"] if re.match(r"torch\W", one))
    low, high = re.fullmatch(r"torch>=([\d.]+),<(\d+)", torch).groups()
    assert f"ffstream needs torch {low} or later, below {high}" in README


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
