"""Mutated files give a constitution or an error with a line: never a traceback, never a hang.

``CHARTER_FUZZ=100000 python -m pytest tests/unit/constitution/test_fuzz.py`` runs it at length.
"""

import os
import random
import re
import time
from pathlib import Path

import pytest

from charter.constitution import keep_constitution, load_kept_constitution, parse_constitution
from charter.constitution.problems import BrokenConstitution
from charter.constitution.source import LARGEST_FILE

ROOT = Path(__file__).parents[3]
SEEDS = sorted([*(ROOT / "constitutions").glob("*.md"), *(Path(__file__).parent / "broken").glob("*.md")])
SEEDS.append(ROOT / "src" / "charter" / "constitution" / "starter.md")
PIECES = [
    "---\n", "\n---\n", "## ", "\n## ", "# ", "### Critique\n", "### Examples\n", "\n\n", "\n", "{#a}", "{.b weight=2}",
    "{", "}", "<!--", "-->", "```\n", "```text\n", "~~~", "> ", "- ", "  - ", "1. ", "**Prompt:** ", "**Response:** ",
    "**Critique:** ", "**Revision:** ", "\\", "`", "*", "_", "[", "](", "![a](b)", "<b>", "&amp;", "&#0;", "\x00",
    "\u202e", "\ud7ff", "\U0010ffff", "\t", "    ", "\r\n", "\r", "\x0c", "name: ", "extends: x.md\n", "weight=nan",
    "weight=1e999", "&a [*a, *a]", "!!python/object:os.system x", "? : ", "%YAML 1.1\n", "=====", "-----", "|",
    "a" * 300,
]  # fmt: skip
FILES = int(os.environ.get("CHARTER_FUZZ", "1500"))
FILES_PER_PUSH = 150
LONGEST_S = 5.0


def mutate(text: str, rng: random.Random) -> str:
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[min(to, at + 40) :]
            case 2:
                text = text[:at] + text[at:to][:200] * rng.choice([2, 3]) + text[to:]
            case 3:
                text = text[:at] + chr(rng.choice([rng.randrange(128), rng.randrange(0xD800)])) + text[at + 1 :]
            case 4:
                lines = text.split("\n")
                rng.shuffle(lines) if rng.random() < 0.2 else lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                text = "\n".join(lines)
            case 5:
                text = text[:at] + rng.choice(PIECES) * rng.choice([2, 50]) + text[to:]
    return text


@pytest.mark.parametrize("files", [FILES_PER_PUSH, pytest.param(FILES, marks=pytest.mark.slow)])
def test_mutated_files_give_a_constitution_or_an_error_with_a_line(tmp_path: Path, files: int) -> None:
    rng = random.Random(20240607)
    texts = [path.read_bytes().decode("utf-8", "replace") for path in SEEDS]
    good = 0
    for number in range(files):
        text = mutate(rng.choice(texts), rng)
        start = time.process_time()
        try:
            constitution = parse_constitution(text, Path("fuzz.md"), read=lambda path: b"## Base\nSome text.\n")
        except BrokenConstitution as error:
            lines = text.count("\n") + text.count("\r") + 1
            for problem in error.problems:
                assert 1 <= problem.line <= lines, (number, text, str(problem))
                assert re.fullmatch(r".+\.md:\d+: .+\. .+\.", str(problem), re.DOTALL), (number, str(problem))
        else:
            good += 1
            keep_constitution(constitution, tmp_path)
            kept = load_kept_constitution(tmp_path)
            assert kept == constitution, (number, text)
            assert kept.hash == constitution.hash, (number, text)
        assert time.process_time() - start < LONGEST_S, (number, text)
    assert files * 0.05 < good < files * 0.95


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "![",
        "](",
        "*a ",
        "**_* ",
        "`",
        "<",
        "<a ",
        "<!--",
        "\\",
        "&",
        "> ",
        "- ",
        "  - a\n",
        "1. ",
        "{",
        "## a\n\nb\n\n",
    ],
)
def test_much_of_one_thing_ends_soon(piece: str) -> None:
    text = "## A\n\n" + piece * (LARGEST_FILE // 4 // len(piece))
    start = time.process_time()
    try:
        parse_constitution(text)
    except BrokenConstitution as error:
        assert error.problems
    assert time.process_time() - start < 20


@pytest.mark.parametrize("text", ["[" * 15000, "{a: " * 5000, "- " * 8000, "a: &b [*b]", "&a [*a, *a]", "? " * 8000])
def test_hostile_front_matter_ends_in_an_error(text: str) -> None:
    with pytest.raises(BrokenConstitution):
        parse_constitution(f"---\n{text}\n---\n## A\n\nSome text.\n")
