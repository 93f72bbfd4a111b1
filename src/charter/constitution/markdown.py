"""Markdown as blocks of plain text with line numbers: emphasis is for the reader, the model gets the words."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

VERBATIM = "text"
"""The info word of a fence whose content is taken verbatim, if it is the only block."""

_SPACES = re.compile(r"[ \t\n]+")
_NO_HTML = "Write plain Markdown; put a backslash before '<' if it is meant literally"
_STRUCK, _FOOTNOTE, _TASK = re.compile(r"~~\S"), re.compile(r"\[\^[^\]\s]+\]"), re.compile(r"\[[ xX]\]\s")
_DEEPEST_LIST = 3
_LONGEST, _MOST_BRACKETS, _MOST_TOKENS = 20_000, 500, 30_000


class Unclear(Exception):
    """Markdown that a constitution must not contain; `line` is an index into the parsed lines."""

    def __init__(self, line: int, code: str, what: str, fix: str) -> None:
        super().__init__(what)
        self.line, self.code, self.what, self.fix = line, code, what, fix


class Block(NamedTuple):
    """One block of a document, its words as plain text.

    `raw` is a heading's source without its marks; `label` is the bold word that opens a paragraph,
    its colon included, and `rest` the paragraph without it.
    """

    kind: Literal["heading", "paragraph", "list", "fence", "rule"]
    line: int
    text: str = ""
    level: int = 0
    raw: str = ""
    info: str = ""
    label: str = ""
    rest: str = ""


def blocks(body: str) -> list[Block]:
    """The blocks of a document in order.

    Raises:
        Unclear: as `read_blocks` reports it; only the first one.
    """
    found, unclear = read_blocks(body)
    if unclear:
        raise unclear[0]
    return found


def read_blocks(body: str) -> tuple[list[Block], list[Unclear]]:
    """The blocks of a document in order, and all that is unclear in it: a block is made of what is clear.

    Quotations (``>``) and notes (``!!!``) are for the reader, like comments, and left out. Unclear are tables, HTML,
    images, footnotes, words struck through, task lists, underlined headings, and lists nested deeper than three.
    """
    unclear = list[Unclear]()
    try:
        tokens = _parser().parse(body)
    except Unclear as error:
        return [], [error]
    found = [_block(group, unclear) for group in _groups(tokens)]
    return [block for block in found if block is not None], sorted(unclear, key=lambda one: one.line)


def join_blocks(parts: Sequence[Block]) -> str:
    """The text of blocks that are paragraphs, lists and fences."""
    # A single fence is how a text with unusual white space is written: see `to_markdown`.
    if len(parts) == 1 and parts[0].kind == "fence" and parts[0].info == VERBATIM:
        return parts[0].text
    return "\n\n".join(f"```{b.info}\n{b.text}\n```" if b.kind == "fence" else b.text for b in parts)


def plain_text(line: str) -> str:
    """One line of Markdown as plain text; what is unclear in it is left out."""
    tokens = _parser().parseInline(line)
    return _words(tokens[0].children, 0, []) if tokens else ""


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    # Link definitions would vanish and indented text would become code; authors mean neither.
    # Images are recognised among the links below, because the parser's own search is quadratic in a line's length.
    parser = MarkdownIt("commonmark").disable(["reference", "code", "image"])
    parser.enable("table")  # recognised to be refused: as a paragraph, its cells would become one line
    parser.core.ruler.after("block", "limits", _check_limits)
    return parser


def _check_limits(state: StateCore) -> None:
    """Refuse text that would take the parser minutes, before it parses the lines."""
    if len(state.tokens) > _MOST_TOKENS:
        fix = "Split it into files of which one extends the other"
        raise Unclear(0, "too-long", "more than a constitution can hold", fix)
    for token in state.tokens:
        if token.type == "inline" and (len(token.content) > _LONGEST or token.content.count("[") > _MOST_BRACKETS):
            what = f"a paragraph of over {_LONGEST} characters or {_MOST_BRACKETS} brackets"
            fix = "Shorten it, or put it between lines of ```text and ```"
            raise Unclear(token.map[0] if token.map else 0, "long-paragraph", what, fix)


def _groups(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Cut tokens into elements, each from its opening token to the closing one."""
    depth = start = 0
    for index, token in enumerate(tokens):
        # +1 for an opening token, -1 for a closing one, 0 for one that stands alone.
        depth += token.nesting
        if depth == 0:
            yield tokens[start : index + 1]
            start = index + 1


def _block(tokens: Sequence[Token], unclear: list[Unclear]) -> Block | None:
    """A block, or None for what no model reads."""
    first = tokens[0]
    line = first.map[0] if first.map else 0

    def refuse(code: str, what: str, fix: str) -> None:
        unclear.append(Unclear(line, code, what, fix))

    match first.type:
        case "heading_open":
            if first.markup in ("-", "="):
                fix = "Write '## Title'; if a rule is meant, put an empty line before it"
                refuse("underlined-heading", "a heading made by underlining it", fix)
                return None
            words = _words(tokens[1].children, line, unclear)
            return Block("heading", line, words, int(first.tag[1]), raw=tokens[1].content)
        case "paragraph_open" if tokens[1].content.startswith("!!! "):
            pass
        case "paragraph_open":
            label, rest = _label(tokens[1], line)
            return Block("paragraph", line, _words(tokens[1].children, line, unclear), label=label, rest=rest)
        case "bullet_list_open" | "ordered_list_open":
            return Block("list", line, "\n".join(_items(tokens, line, 1, unclear)))
        case "fence":
            return Block("fence", line, first.content.removesuffix("\n"), info=first.info.strip())
        case "hr":
            return Block("rule", line)
        case "table_open":
            refuse("table", "a table", "Write it as a list, or put it between lines of ```text and ```")
        case "html_block":
            refuse("html", "HTML", _NO_HTML)
        case "blockquote_open":
            pass
        case other:  # the parser is set to CommonMark, which has no more
            refuse("unknown-block", f"a block of the kind '{other}'", "Write it as a paragraph")
    return None


def _items(tokens: Sequence[Token], line: int, depth: int, unclear: list[Unclear]) -> list[str]:
    """The lines of a list: each item after ``-`` or its number, its further lines indented."""
    if depth > _DEEPEST_LIST:
        unclear.append(Unclear(line, "deep-list", "a list more than three levels deep", "Write it with fewer levels"))
        return []
    is_ordered = tokens[0].type == "ordered_list_open"
    start = int(tokens[0].attrGet("start") or 1) if is_ordered else 0
    lines: list[str] = []
    for number, item in enumerate(_groups(tokens[1:-1]), start):
        mark = f"{number}. " if is_ordered else "- "
        content: list[str] = []
        for part in _groups(item[1:-1]):
            line = part[0].map[0] if part[0].map else line
            if part[0].type in ("bullet_list_open", "ordered_list_open"):
                content += _items(part, line, depth + 1, unclear)
            elif part[0].type == "paragraph_open":
                if _TASK.match(part[1].content):
                    what, fix = "a task list ('- [ ]')", "Write the items without boxes"
                    unclear.append(Unclear(line, "task-list", what, fix))
                content += _words(part[1].children, line, unclear).split("\n")
            else:
                what, fix = "a list item that holds more than text", "Write its words on one line"
                unclear.append(Unclear(line, "list-item", what, fix))
        first, *others = content or [""]
        lines += [mark + first, *(" " * len(mark) + text for text in others)]
    return lines


def _label(inline: Token, line: int) -> tuple[str, str]:
    """The bold words that open a paragraph, if a colon ends them, and the text after the colon."""
    children = inline.children or []
    types = [child.type for child in children[:4]]
    # The parser may put an empty text before the bold words.
    if types[:3] == ["text", "strong_open", "text"] and not children[0].content:
        children = children[1:]
        types = types[1:] + [child.type for child in children[3:4]]
    if types[:3] != ["strong_open", "text", "strong_close"]:
        return "", ""
    bold, rest = children[1].content.strip(), _words(children[3:], line, [])  # reported with the whole paragraph
    # People write **Prompt:** as well as **Prompt**: text.
    if bold.endswith(":"):
        return bold, rest
    return (f"{bold}:", rest[1:].strip()) if rest.startswith(":") else ("", "")


def _words(children: Sequence[Token] | None, line: int, unclear: list[Unclear]) -> str:
    """Inline tokens as plain text."""
    parts: list[str] = []

    def refuse(code: str, what: str, fix: str) -> None:
        unclear.append(Unclear(line, code, what, fix))

    for child in children or ():
        match child.type:
            case "text" | "text_special":
                if child.type == "text" and _STRUCK.search(child.content):
                    refuse("strikethrough", "words struck through ('~~')", "Delete them, or write them plainly")
                if child.type == "text" and _FOOTNOTE.search(child.content):
                    refuse("footnote", "a footnote ('[^…]')", "Write what it says where it belongs, or in a comment")
                parts.append(_SPACES.sub(" ", child.content))
            case "code_inline":
                parts.append(f"{child.markup}{_SPACES.sub(' ', child.content)}{child.markup}")
            case "softbreak":
                parts.append(" ")
                line += 1
            case "hardbreak":
                parts.append("\n")
                line += 1
            case "html_inline":
                refuse("html", f"the HTML tag '{child.content[:40]}'", _NO_HTML)
            # ![…](…): the parser's own images are off, so that it is a link after an exclamation mark.
            case "link_open" if parts and parts[-1].endswith("!"):
                refuse("image", "an image", "Describe in words what the model should know")
            case _:
                pass  # emphasis and links: their words are separate children
    lines = re.sub(r" +", " ", "".join(parts)).split("\n")
    return "\n".join(text.strip(" ") for text in lines).strip("\n")
