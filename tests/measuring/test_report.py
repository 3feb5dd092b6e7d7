from __future__ import annotations

from ffstream.measuring.report import markdown


def test_rows_become_a_markdown_table():
    assert markdown([{"a": "1", "b": "x|y"}, {"a": "2", "b": "–"}]) == (
        "| a | b |\n| --- | --- |\n| 1 | x/y |\n| 2 | – |\n"
    )
