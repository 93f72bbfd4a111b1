from pathlib import Path
from textwrap import dedent

import pytest

from charter.constitution import Constitution, Example, Turn, load_constitution, parse_constitution
from charter.constitution.parse import slug
from charter.constitution.problems import BrokenConstitution
from charter.core.errors import ConstitutionError

FULL = """\
---
name: demo
version: 1.10
description: All of the format
language: en
tags: [tone]
---

# The title is for people

Be good,
  *please*.

### Examples

**Prompt:** Hi

**Response:** Go away.

**Critique:** Rude.

**Revision:** Hello!

## Keep secrets {#privacy .harmless .tone weight=2.5}

Do not tell
secrets.

- neither yours
- nor *mine*

### Critique

Did it tell a secret?

### Revision

Take the secret out.

### Preference

Which one keeps it?

### Examples

**System:** Be brief.

**Prompt:** What is her name?

**Response:** Whose?

**Prompt:** The queen's.

**Response:** Ann.

**Critique request:** Did you tell?

**Critique**: Yes,
I did.

And I should not have.

**Revision request:** Again.

**Revision:**

```text
  I will not
say `it`.
```

---

**Prompt:** A

**Response:** B

**Critique:** C

**Revision:** D

## Plain words

Use short words.
"""


def parse(text: str) -> Constitution:
    return parse_constitution(dedent(text), Path("c.md"))


def test_the_whole_format() -> None:
    c = parse(FULL)
    assert (c.name, c.version, c.description, c.language, c.tags) == (
        "demo",
        "1.10",
        "All of the format",
        "en",
        ("tone",),
    )
    assert c.preface == "Be good, please."
    assert c.examples == (Example((Turn("user", "Hi"),), "Go away.", "Rude.", "Hello!"),)
    privacy, plain = c.principles
    assert (privacy.id, privacy.title, privacy.tags, privacy.weight, privacy.line) == (
        "privacy",
        "Keep secrets",
        ("harmless", "tone"),
        2.5,
        24,
    )
    assert privacy.text == "Do not tell secrets.\n\n- neither yours\n- nor mine"
    assert privacy.critique_request == "Did it tell a secret?"
    assert privacy.revision_request == "Take the secret out."
    assert privacy.preference_request == "Which one keeps it?"
    first, second = privacy.examples
    assert first.prompt == (
        Turn("system", "Be brief."),
        Turn("user", "What is her name?"),
        Turn("assistant", "Whose?"),
        Turn("user", "The queen's."),
    )
    assert first.critique == "Yes, I did.\n\nAnd I should not have."
    assert first.revision == "  I will not\nsay `it`."
    assert (first.critique_request, first.revision_request) == ("Did you tell?", "Again.")
    assert second == Example((Turn("user", "A"),), "B", "C", "D")
    assert (plain.id, plain.text, plain.weight, plain.critique_request) == (
        "plain-words",
        "Use short words.",
        1.0,
        None,
    )


def test_the_least_one_can_write() -> None:
    c = parse_constitution("## Be kind\nSay kind things.", Path("kindness.md"))
    assert (c.name, c.version, c.principles[0].id) == ("kindness", "0", "be-kind")


def test_values_are_taken_as_written() -> None:
    c = parse("---\nname: no\nversion: 1.10\nlanguage: on\n---\n## A\nb c")
    assert (c.name, c.version, c.language) == ("no", "1.10", "on")


@pytest.mark.parametrize(
    ("title", "id"),
    [
        ("Keep it *private*!", "keep-it-private"),
        ("Größe zählt", "grösse-zählt"),
        ("隐私", "隐私"),
        ("C3-PO's 2nd", "c3-po-s-2nd"),
    ],
)
def test_ids_come_from_titles(title: str, id: str) -> None:
    assert parse(f"## {title}\ntext here").principles[0].id == id
    assert slug(slug(title)) == slug(title)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("Two\nlines", "Two lines"),
        ("a <!-- b --> c", "a c"),
        ("a\n<!-- one\ntwo -->\nb", "a b"),
        ("a <!-- b", None),
        ("1 \\< 2 & 3 &gt; 2", "1 < 2 & 3 > 2"),
        ("See [the paper](https://x.org).", "See the paper."),
        ("`{{ x }}` \\*stays\\*", "`{{ x }}` *stays*"),
        ("    indented", "indented"),
        ("hard\\\nbreak", "hard\nbreak"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("* a\n  * b\n\n* c", "- a\n  - b\n- c"),
        ("a\n\n```python\nx = 1\n```", "a\n\n```python\nx = 1\n```"),
        ("```text\n a\n\n <!-- b -->\n```", " a\n\n <!-- b -->"),
    ],
)
def test_markdown_becomes_plain_text(written: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(ConstitutionError, match="never closed"):
            parse(f"## A\n\n{written}\n")
    else:
        assert parse(f"## A\n\n{written}\n").principles[0].text == text


def test_hashes_follow_what_reaches_the_model_only() -> None:
    one = parse("## A title {#a}\nSay it.\n\n## B {#b}\nDo *it*.\n")
    other = parse(
        "---\nname: x\nversion: 2\n---\n<!-- new -->\n"
        "## B {#b}\n\nDo\nit.\n\n## Another title {#a}\n\n<!-- x -->\nSay   it.\n"
    )
    assert one.hash == other.hash
    assert [p.hash for p in one.principles] == [p.hash for p in reversed(other.principles)]
    reworded = parse("## A title {#a}\nSay that.\n\n## B {#b}\nDo it.\n")
    assert reworded.hash != one.hash
    assert reworded.principle("b").hash == one.principle("b").hash
    reweighted = parse("## A title {#a weight=2}\nSay it.\n\n## B {#b}\nDo it.\n")
    assert reweighted.hash != one.hash
    assert reweighted.principle("a").hash == one.principle("a").hash
    with_request = parse("## A title {#a}\nSay it.\n### Critique\nWell?\n## B {#b}\nDo it.\n")
    assert with_request.principle("a").hash != one.principle("a").hash


def test_an_unknown_id_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        parse("## A\nb").principle("c")


def test_extends_overrides_by_id_and_adds(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "base.md").write_text(
        "---\nlanguage: de\ntags: [t]\n---\nBase preface.\n## One\nFirst.\n## Two\nSecond.\n## Three\nThird.\n"
    )
    path = tmp_path / "variant.md"
    path.write_text(
        "---\nextends: base/base.md\nwithout: [three]\ntags: [u]\n---\n## Zwei {#two}\nZweitens.\n## Four\nFourth.\n"
    )
    c = load_constitution(path)
    assert [(p.id, p.text) for p in c.principles] == [("one", "First."), ("two", "Zweitens."), ("four", "Fourth.")]
    assert (c.name, c.language, c.preface, c.tags) == ("variant", "de", "Base preface.", ("t", "u"))
    assert Path(c.principles[0].file).name == "base.md"
    assert Path(c.principles[1].file).name == "variant.md"


def test_every_mistake_of_a_file_is_reported_together() -> None:
    with pytest.raises(BrokenConstitution) as raised:
        parse("---\nnmae: x\n---\n## A {.b, c}\ntext\n\n## A\n\n### Notes\nx\n")
    assert str(raised.value).splitlines() == [
        "c.md:2: unknown setting 'nmae'. Use one of: name, version, description, language, extends, without, tags.",
        "c.md:4: '.b,' in the braces of a heading is not known. Use #an-id, .a-tag and weight=2.",
        "c.md:4: 'c' in the braces of a heading is not known. Use #an-id, .a-tag and weight=2.",
        "c.md:7: the principle 'A' has no text. Write a paragraph under its heading.",
        "c.md:7: the id 'a' is also that of the principle on line 4. "
        "Give one of them another id: '## A {#another-id}'.",
        "c.md:9: unknown section '### Notes'. "
        "Use one of ### Critique, ### Revision, ### Preference, ### Check, ### Examples, or '##' for a principle.",
    ]


def test_lines_are_those_of_the_file_despite_comments() -> None:
    with pytest.raises(ConstitutionError, match=r"^c\.md:8: an image"):
        parse("---\nname: a\n---\n<!-- one\ntwo -->\n## A\n\n![b](c)\n")


def test_every_unclear_part_is_reported_in_one_run() -> None:
    text = "## A\n\nA<br>b ![c](d) ~~e~~ f[^1].\n\n| g | h |\n|---|---|\n\n<div>i</div>\n\n- [x] j\n\nk\n---\n"
    with pytest.raises(BrokenConstitution) as caught:
        parse_constitution(text)
    codes = [(problem.line, problem.code) for problem in caught.value.problems]
    assert codes == [
        (3, "html"), (3, "image"), (3, "strikethrough"), (3, "footnote"), (5, "table"), (8, "html"), (10, "task-list"),
        (12, "underlined-heading"),
    ]  # fmt: skip


def test_quotations_and_notes_are_for_the_reader() -> None:
    text = "> Why this exists.\n\n## A\n\n> An old saying\n\nBe kind.\n\n!!! note\n    For people.\n"
    constitution = parse_constitution(text)
    assert (constitution.preface, constitution.principles[0].text) == ("", "Be kind.")


def test_a_table_is_refused_and_never_flattened() -> None:
    table = "| request | answer |\n|---|---|\n| a way in | the hours |\n"
    with pytest.raises(ConstitutionError, match=r":5: a table\."):
        parse_constitution(f"## Stay\n\nBe kind.\n\n{table}")
    assert "| a way in |" in parse_constitution(f"## Stay\n\nBe kind.\n\n```\n{table}```\n").principles[0].text
