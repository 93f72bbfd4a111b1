"""A constitution's file as numbered lines of Markdown, without its comments, and its front matter."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml

from charter.constitution.problems import BrokenConstitution, Problem

LARGEST_FILE = 2**20
_LARGEST_FRONT_MATTER, _MOST_BRACKETS = 2**15, 100
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FENCE = re.compile(r" *(`{3,}(?=[^`]*$)|~{3,})")
_COMMENT = re.compile(r"(?<!\\)<!--")
_BRACKET, _QUOTED = re.compile(r"[\[{]"), re.compile(r'"[^"\n]*"')


class FrontMatterEntry(NamedTuple):
    """One setting of the front matter: text as written, or a list of texts."""

    value: str | list[str]
    line: int


@dataclass(frozen=True)
class SourceText:
    """A file's front matter and body; `lines[i]` is the number in the file of the body's line i."""

    entries: dict[str, FrontMatterEntry]
    body: str
    lines: tuple[int, ...]

    def line(self, index: int) -> int:
        """The line number in the file of a line of the body; the last one for an index beyond the end."""
        return self.lines[min(index, len(self.lines) - 1)] if self.lines else 1


def read_file(path: Path) -> bytes:
    """The content of a constitution's file.

    Raises:
        BrokenConstitution: missing, or larger than 1 MiB.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            _fail(path, 0, "too-large", "larger than 1 MiB", "A constitution is a few pages; name the right file")
        return path.read_bytes()
    except OSError as error:
        fix = "Name a Markdown file, such as constitutions/harmless.md"
        _fail(path, 0, "unreadable", f"cannot be read: {error.strerror}", fix)


def decode(content: bytes, path: Path) -> str:
    """The text of a constitution's file; `path` names it in the error.

    Raises:
        BrokenConstitution: not UTF-8.
    """
    try:
        # With or without the mark that some editors put at the beginning.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _fail(path, line, "encoding", f"byte {error.start} is not UTF-8", "Save the file as UTF-8")


def _fail(path: Path | str, line: int, code: str, what: str, fix: str) -> NoReturn:
    raise BrokenConstitution([Problem(str(path), line, code, what, f"{fix}.")])


def read_source(text: str, file: str) -> SourceText:
    """Split a constitution's text into front matter and body, without comments.

    A comment that is alone on its line disappears with the line, so that adding one changes nothing else.

    Raises:
        BrokenConstitution: control characters, a comment or front matter that is not closed, or bad YAML.
    """
    # Line numbers in messages are those of an editor, whatever ends the lines.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if match := _CONTROL.search(text):
        at = text.count("\n", 0, match.start()) + 1
        _fail(file, at, "control-character", f"the control character {match[0]!r}", "Delete it")
    lines = text.split("\n")
    entries, start = _read_front_matter(lines, file)
    kept: list[str] = []
    numbers: list[int] = []
    # `fence` is the mark that opened the current code fence, in which comments are text; `comment_line` is where a
    # comment that is still open began.
    fence, fence_line, comment_line = "", 0, 0
    for number, line in enumerate(lines[start:], start + 1):
        if not comment_line and (mark := _FENCE.match(line)):
            if not fence:
                fence, fence_line = mark[1], number
            elif mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        words, comment_line = (line, 0) if fence else _strip_comments(line, comment_line, number)
        if words.strip() or words == line:
            kept.append(words)
            numbers.append(number)
    if comment_line:
        _fail(file, comment_line, "open-comment", "a comment '<!--' that is never closed", "Close it with '-->'")
    if fence:
        what, fix = f"a fence '{fence}' that is never closed", f"Close it with a line of '{fence}'"
        _fail(file, fence_line, "open-fence", what, fix)
    return SourceText(entries, "\n".join(kept), tuple(numbers))


def _strip_comments(line: str, opened: int, number: int) -> tuple[str, int]:
    """`line` without comments, and the line on which a comment that is still open began."""
    words = ""
    while True:
        if opened:
            end = line.find("-->")
            if end < 0:
                return words, opened
            line, opened = line[end + 3 :], 0
        start = _COMMENT.search(line)
        if not start:
            return words + line, 0
        words, line, opened = words + line[: start.start()], line[start.end() :], number


def _read_front_matter(lines: list[str], file: str) -> tuple[dict[str, FrontMatterEntry], int]:
    """The settings, and the index of the first line of the body."""

    def refuse(line: int, what: str, fix: str = "Write 'key: value' lines") -> NoReturn:
        _fail(file, line, "front-matter", what, fix)

    if lines[0].rstrip() != "---":
        return {}, 0
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 0)
    if not end:
        refuse(1, "front matter that is never closed", "End it with a line of '---'")
    text = "\n".join(lines[1:end])
    if len(text) > _LARGEST_FRONT_MATTER:
        refuse(1, "front matter of more than 32 KiB", "Move the text below the closing '---'")
    # nested brackets take YAML's parser minutes
    if len(_BRACKET.findall(_QUOTED.sub("", text))) > _MOST_BRACKETS:
        refuse(1, "front matter with over 100 brackets")
    try:
        # composed, not loaded: the nodes keep values as written, so `version: 1.10` stays 1.10 and `name: no` a name
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        fix = "Write 'key: value' lines; quote values with special characters"
        refuse(line, f"front matter is not YAML: {error.problem}", fix)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        refuse(1, f"front matter is not YAML: {error}")
    if root is None:
        return {}, end + 1
    if not isinstance(root, yaml.MappingNode):
        refuse(2, "front matter holds no settings", "Write 'key: value' lines, such as 'name: harmless'")
    entries: dict[str, FrontMatterEntry] = {}
    for key, node in root.value:
        line = key.start_mark.line + 2  # YAML counts from 0, and the line of '---' is not part of its text
        if not isinstance(key, yaml.ScalarNode):
            refuse(line, "a setting whose name is not text", "Write 'key: value'")
        if key.value in entries:
            refuse(line, f"'{key.value}' is set twice, first on line {entries[key.value].line}", "Delete one of them")
        if isinstance(node, yaml.ScalarNode):
            entries[key.value] = FrontMatterEntry(str(node.value).strip(), line)
        elif isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            entries[key.value] = FrontMatterEntry([str(item.value).strip() for item in node.value], line)
        else:
            what, fix = f"'{key.value}' holds nested settings", "Give it one value, or a list of words"
            refuse(node.start_mark.line + 2, what, fix)
    return entries, end + 1
