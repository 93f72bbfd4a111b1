"""A preview as Markdown: everything of its page is there, and no text of a model acts as markup."""

from pathlib import Path

from markdown_it import MarkdownIt

from charter.constitution import load_constitution
from charter.views.critiques import CritiqueRound
from charter.views.preview.preview import Preview, PreviewedRow
from charter.views.preview.text import preview_markdown

HOSTILE = "# Not a heading\n<script>alert(1)</script> | *[link](http://127.0.0.1)*\n    indented `code`"


def preview(tmp_path: Path, *rows: PreviewedRow) -> Preview:
    (tmp_path / "constitution.md").write_text("---\nname: constitution\n---\n## Kind\nBe kind.\n")
    return Preview(load_constitution(tmp_path / "constitution.md"), rows, (), asked=3, from_store=1, seconds=2.0)


def row(final: str, failure: str = "") -> PreviewedRow:
    rounds = (CritiqueRound(1, "kind", "Kind", True, "It is rude.", final, final != "bad"),)
    return PreviewedRow("r1", "rudeness", ({"role": "user", "content": "Hello?"},), "bad", rounds, failure)


def test_a_row_tells_its_whole_way(tmp_path: Path) -> None:
    html = MarkdownIt("commonmark").render(preview_markdown(preview(tmp_path, row("good"))))
    told = [
        "1 of 1: rudeness",
        "Hello?",
        "First response",
        "bad",
        "Round 1, violated, answer revised: Kind",
        "It is rude.",
    ]
    places = [html.index(part) for part in [*told, "Final answer", "good"]]
    assert places == sorted(places)
    assert "1 of 1 answers revised; asked 3, from the store 1, 2.0 s" in html


def test_an_answer_that_stayed_and_a_row_that_failed_say_so(tmp_path: Path) -> None:
    text = preview_markdown(preview(tmp_path, row("bad"), row("bad", "revise: no-verdict")))
    assert text.count("The first response is the final answer.") == 1
    assert "> revise\\: no\\-verdict" in text


def test_a_model_s_text_is_text(tmp_path: Path) -> None:
    html = MarkdownIt("commonmark").render(preview_markdown(preview(tmp_path, row(HOSTILE))))
    assert "<script" not in html and "<a " not in html and "<code" not in html and "<h1" not in html
    assert "# Not a heading<br />\n&lt;script&gt;alert(1)&lt;/script&gt; | *[link](http://127.0.0.1)*<br />" in html
