"""A table of texts: aligned on a terminal, escaped in Markdown."""

from charter.core.tables import TextTable

TABLE = TextTable(("fruit", "n", "note"), [("apple", "3", "sweet"), ("a | *very* long name", "1,200", "")], left=(0, 2))


def test_numbers_are_aligned_to_the_right_and_long_names_shortened() -> None:
    assert TABLE.text(longest=8).splitlines() == [
        "fruit         n  note",
        "apple         3  sweet",
        "a | *ve…  1,200",
    ]


def test_markdown_keeps_cells_text() -> None:
    assert TABLE.markdown().splitlines() == [
        "| fruit | n | note |",
        "|---|---:|---|",
        "| apple | 3 | sweet |",
        "| a \\| \\*very\\* long name | 1,200 |  |",
    ]
