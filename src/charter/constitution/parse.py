"""Parses a Markdown file to a `Constitution`. Nothing is guessed; every mistake is reported with its line."""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from charter.constitution.checks import KNOWN, parse_check, split_sentences
from charter.constitution.examples import parse_examples
from charter.constitution.markdown import Block, Unclear, join_blocks, plain_text, read_blocks
from charter.constitution.model import Constitution, Example, Principle, SourceFile
from charter.constitution.problems import BrokenConstitution, Problem
from charter.constitution.source import SourceText, decode, read_file, read_source

SETTINGS = ("name", "version", "description", "language", "extends", "without", "tags")
SECTIONS = ("critique", "revision", "preference", "check", "examples")
_LISTS = ("without", "tags")
ID = re.compile(r"[^\W_]+(?:[-._][^\W_]+)*")
_ATTRIBUTES = re.compile(r"(?<!\\)\{((?:\\.|[^{}\\])*)\}\s*$")
_LOOSE_BRACE = re.compile(r"(?<!\\)[{}]")
_HEAVIEST = 1000.0
_LONGEST_CHAIN, _LONGEST_TITLE, _LONGEST_SETTING = 16, 200, 1000

Reader = Callable[[Path], bytes]


def load_constitution(path: Path, read: Reader = read_file) -> Constitution:
    """Read a constitution and what it extends.

    Args:
        path: the Markdown file.
        read: how a file's content is read; another one reads from a git revision.

    Raises:
        ConstitutionError: one ``file:line: what. fix`` line per mistake.
    """
    return _parse(read(path), path, read, ())


def parse_constitution(text: str, path: Path | None = None, read: Reader = read_file) -> Constitution:
    """Read a constitution from its text; `path` names it in errors and is where `extends` starts from.

    Raises:
        ConstitutionError: one ``file:line: what. fix`` line per mistake.
    """
    return _parse(text.encode("utf-8", "surrogatepass"), path or Path("constitution.md"), read, ())


def slug(title: str) -> str:
    """The default id of a principle: the words of its title in lower case, joined by hyphens."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", title).casefold())
    return "-".join(words)


@dataclass
class _Draft:
    """A constitution while it is being parsed; mistakes are collected in `problems`."""

    source: SourceText
    file: str
    problems: list[Problem] = field(default_factory=list)
    preface: str = ""
    examples: tuple[Example, ...] = ()
    principles: list[Principle] = field(default_factory=list)

    def wrong(self, index: int, code: str, what: str, fix: str) -> None:
        """Note a mistake on a line of the body."""
        self.problems.append(Problem(self.file, self.source.line(index), code, what, f"{fix}."))

    def setting(self, key: str) -> str:
        """A setting that is one text; empty if it is missing."""
        entry = self.source.entries.get(key)
        return entry.value if entry and isinstance(entry.value, str) else ""

    def listed(self, key: str) -> tuple[str, ...]:
        """A setting that is a list of words; a single text is a list of one."""
        entry = self.source.entries.get(key)
        value = entry.value if entry else []
        return tuple(value) if isinstance(value, list) else (value,) if value else ()


def _parse(content: bytes, path: Path, read: Reader, chain: tuple[Path, ...]) -> Constitution:
    """Parse a file; `chain` are the files that extend it, so that a cycle is noticed."""
    text = decode(content, path)
    draft = _Draft(read_source(text, str(path)), str(path))
    _check_settings(draft)
    document, unclear = read_blocks(draft.source.body)
    for problem in unclear:
        draft.wrong(problem.line, problem.code, problem.what, problem.fix)
    _read_document(draft, document)
    if not draft.principles and not draft.setting("extends") and not draft.problems:
        what = "no principles" if text.strip() else "the file is empty"
        draft.wrong(0, "no-principles", what, "Write a heading '## Title' and a paragraph under it")
    if draft.problems:
        raise BrokenConstitution(sorted(draft.problems, key=lambda problem: problem.line))
    constitution = Constitution(
        name=draft.setting("name") or path.stem,
        version=draft.setting("version") or "0",
        principles=tuple(draft.principles),
        description=draft.setting("description"),
        language=draft.setting("language") or "en",
        preface=draft.preface,
        tags=draft.listed("tags"),
        examples=draft.examples,
        path=path,
        sources=(SourceFile(path, content),),
    )
    return _extend(constitution, draft, path, read, chain) if draft.setting("extends") else constitution


def _check_settings(draft: _Draft) -> None:
    for key, (value, line) in draft.source.entries.items():
        if key == "without" and not draft.setting("extends"):
            what, fix = "'without' in a file that extends nothing", "Add 'extends: other.md', or delete this line."
        elif key not in SETTINGS:
            what, fix = f"unknown setting '{key}'", f"Use one of: {', '.join(SETTINGS)}."
        elif isinstance(value, list) and key not in _LISTS:
            what, fix = f"'{key}' is a list", "Give it one value."
        elif isinstance(value, str) and "\n" in value.strip():
            what, fix = f"'{key}' has several lines", "Write it on one line."
        elif len(str(value)) > _LONGEST_SETTING:
            what, fix = f"'{key}' is too long", f"Write at most {_LONGEST_SETTING} characters; a preface may be longer."
        else:
            continue
        draft.problems.append(Problem(draft.file, line, "front-matter", what, fix))


def _read_document(draft: _Draft, document: Sequence[Block]) -> None:
    """Cut the document at its ``##`` headings; what is before the first is the preface."""
    starts = [i for i, block in enumerate(document) if block.kind == "heading" and block.level == 2]
    preface = document[: starts[0] if starts else len(document)]
    titles = [b for b in preface if b.kind == "heading" and b.level == 1]
    for extra in titles[1:]:
        draft.wrong(extra.line, "second-title", "a second '#' heading", "Principles have '##' headings")
    body, sections = _sections(draft, [b for b in preface if b not in titles], ("examples",))
    draft.preface = _text(draft, body)
    draft.examples = _examples(draft, sections)
    first: dict[str, int] = {}
    for start, end in pairwise([*starts, len(document)]):
        principle = _read_principle(draft, document[start], document[start + 1 : end])
        # ids become names of files and columns, so two must not differ in case only
        key = principle.id.casefold()
        if key and key in first:
            what = f"the id '{principle.id}' is also that of the principle on line {first[key]}"
            fix = f"Give one of them another id: '## {principle.title} {{#another-id}}'."
            draft.problems.append(Problem(draft.file, principle.line, "duplicate-id", what, fix))
        first.setdefault(key, principle.line)
        draft.principles.append(principle)


def _read_principle(draft: _Draft, heading: Block, content: Sequence[Block]) -> Principle:
    title, id, tags, weight = _read_heading(draft, heading)
    body, sections = _sections(draft, content, SECTIONS)
    text = _text(draft, body)
    if not text.strip():
        what, fix = f"the principle '{title}' has no text", "Write a paragraph under its heading"
        draft.wrong(heading.line, "empty-principle", what, fix)
    requests: dict[str, str | None] = {}
    for name, (block, section) in sections.items():
        if name == "check":
            _report_unknown_checks(draft, block, section)
        elif name != "examples":
            requests[name] = _text(draft, section) or None
            if not requests[name]:
                what = f"'### {block.text}' is empty"
                draft.wrong(block.line, "empty-section", what, "Write its text or delete the heading")
    return Principle(
        id=id,
        title=title,
        text=text,
        tags=tags,
        weight=weight,
        critique_request=requests.get("critique"),
        revision_request=requests.get("revision"),
        preference_request=requests.get("preference"),
        examples=_examples(draft, sections),
        checks=tuple(split_sentences(_text(draft, sections["check"][1]))) if "check" in sections else (),
        line=draft.source.line(heading.line),
        file=draft.file,
    )


def _report_unknown_checks(draft: _Draft, heading: Block, section: Sequence[Block]) -> None:
    """Every sentence of a check that is not understood, with its line."""
    if not section:
        draft.wrong(heading.line, "empty-section", "'### Check' is empty", "Write a rule or delete the heading")
    for block in section:
        for offset, line in enumerate(join_blocks([block]).splitlines()):
            for sentence in split_sentences(line):
                try:
                    parse_check(sentence)
                except ValueError as error:
                    fix = f"Write one of: {'; '.join(known.removesuffix('.') for known in KNOWN)}"
                    draft.wrong(block.line + offset, "check", f"the check '{sentence}' {error}", fix)


def _sections(
    draft: _Draft, found: Sequence[Block], known: Sequence[str]
) -> tuple[list[Block], dict[str, tuple[Block, list[Block]]]]:
    """The blocks before the first ``###`` heading, and those under each by its name."""
    body: list[Block] = []
    sections: dict[str, tuple[Block, list[Block]]] = {}
    target = body
    for block in found:
        if block.kind != "heading":
            target.append(block)
            continue
        name, names = block.text.casefold(), ", ".join(f"### {n.capitalize()}" for n in known)
        if block.level == 1:
            what, fix = "a '#' heading among the principles", "Principles have '##' headings"
            draft.wrong(block.line, "second-title", what, fix)
        elif block.level != 3 or name not in known:
            what = f"unknown section '{'#' * block.level} {block.text}'"
            draft.wrong(block.line, "unknown-section", what, f"Use one of {names}, or '##' for a principle")
        elif name in sections:
            draft.wrong(block.line, "second-section", f"a second '### {block.text}'", "Join it with the first")
        else:
            sections[name] = (block, [])
            target = sections[name][1]
            continue
        target = []  # what follows a wrong heading is ignored: its mistakes would only follow from this one
    return body, sections


def _text(draft: _Draft, found: Sequence[Block]) -> str:
    for block in found:
        if block.kind == "rule":
            draft.wrong(block.line, "rule", "a rule ('---') outside of examples", "Delete it")
    return join_blocks([block for block in found if block.kind != "rule"])


def _examples(draft: _Draft, sections: dict[str, tuple[Block, list[Block]]]) -> tuple[Example, ...]:
    if "examples" not in sections:
        return ()
    heading, found = sections["examples"]
    try:
        return parse_examples(heading.line, found)
    except Unclear as problem:
        draft.wrong(problem.line, problem.code, problem.what, problem.fix)
        return ()


def _read_heading(draft: _Draft, block: Block) -> tuple[str, str, tuple[str, ...], float]:
    """A principle's title, id, tags and weight out of ``## Title {#id .tag weight=2}``."""
    braces = _ATTRIBUTES.search(block.raw)
    raw = block.raw[: braces.start()] if braces else block.raw
    if _LOOSE_BRACE.search(raw):
        fix = "Write {#id .tag weight=2} once, at its end; put a backslash before a brace that is meant literally"
        draft.wrong(block.line, "heading", f"a brace in the heading '{block.raw}'", fix)

    ids: list[str] = []
    tags: list[str] = []
    weights: list[float] = []
    for part in braces[1].split() if braces else ():
        # composed, because editors differ in how they store an accented letter, and ids are compared
        name = unicodedata.normalize("NFC", part[1:])
        if part[0] in "#." and ID.fullmatch(name):
            (ids if part[0] == "#" else tags).append(name)
        elif part.startswith("weight="):
            number = part.removeprefix("weight=")
            try:
                weights.append(float(number.strip('"')))
            except ValueError:
                weights.append(math.nan)
            if not 0 < weights[-1] <= _HEAVIEST:  # also refuses nan
                fix = "Write a number over 0, at most 1000, such as weight=2"
                draft.wrong(block.line, "weight", f"the weight '{number}' is not possible", fix)
        else:
            what, fix = f"'{part}' in the braces of a heading is not known", "Use #an-id, .a-tag and weight=2"
            draft.wrong(block.line, "attribute", what, fix)
    if len(ids) > 1 or len(weights) > 1 or len(set(tags)) < len(tags):
        draft.wrong(block.line, "attribute", "an id, tag or weight given twice", "Keep one of each")

    title = " ".join(plain_text(raw).split())
    id = ids[0] if ids else slug(title)
    if not title:
        draft.wrong(block.line, "heading", "a principle without a title", "Write '## Title'")
    elif len(title) > _LONGEST_TITLE:
        draft.wrong(block.line, "heading", f"a title of {len(title)} characters", f"Write at most {_LONGEST_TITLE}")
    elif not id:
        draft.wrong(block.line, "id", f"no id can be derived from the title '{title}'", "Add one: '## Title {#an-id}'")
    return title, id, tuple(dict.fromkeys(tags)), weights[0] if weights else 1.0


def _extend(
    constitution: Constitution, draft: _Draft, path: Path, read: Reader, chain: tuple[Path, ...]
) -> Constitution:
    """`constitution` merged with the constitution it extends: its principles replace those with the same id."""
    entry = draft.source.entries["extends"]
    target = path.parent / draft.setting("extends")
    # Resolved, so that a cycle through .. or a symbolic link is found.
    met = (*chain, path.resolve())

    def refuse(line: int, code: str, what: str, fix: str) -> BrokenConstitution:
        return BrokenConstitution([Problem(draft.file, line, code, what, fix)])

    if target.resolve() in met or len(met) > _LONGEST_CHAIN:
        names = " -> ".join(p.name for p in (*met, target.resolve()))
        raise refuse(entry.line, "extends-cycle", f"'extends' forms a cycle: {names}", "Let one of them not extend.")
    try:
        content = read(target)
        decode(content, target)  # an unreadable file is reported at the line that names it
    except BrokenConstitution as error:
        what = f"'extends: {draft.setting('extends')}' {error.problems[0].what}"
        fix = "Correct the path; it starts from this file's folder."
        raise refuse(entry.line, "extends-missing", what, fix) from error
    base = _parse(content, target, read, met)
    without = draft.listed("without")
    ids = [p.id for p in base.principles]
    if unknown := [id for id in without if id not in ids]:
        what = f"'without' names '{unknown[0]}', which {target.name} does not have"
        raise refuse(draft.source.entries["without"].line, "without", what, f"Its ids are: {', '.join(ids)}.")
    changed = {p.id: p for p in constitution.principles}
    # A principle that replaces another takes its place; new ones follow.
    kept = [changed.pop(p.id, p) for p in base.principles if p.id not in without or p.id in changed]
    return replace(
        constitution,
        principles=(*kept, *changed.values()),
        preface=constitution.preface or base.preface,
        tags=tuple(dict.fromkeys((*base.tags, *constitution.tags))),
        examples=(*base.examples, *constitution.examples),
        description=constitution.description or base.description,
        # Of the settings and not of `constitution`, which has a default where the file names no language.
        language=draft.setting("language") or base.language,
        sources=(*constitution.sources, *base.sources),
    )
