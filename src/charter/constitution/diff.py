"""What changed between two constitutions, word by word."""

import difflib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from charter.constitution.model import Constitution, Principle
from charter.constitution.parse import load_constitution
from charter.constitution.problems import BrokenConstitution, Problem

_FIELDS = (
    "title",
    "text",
    "critique_request",
    "revision_request",
    "preference_request",
    "tags",
    "weight",
    "examples",
    "checks",
)
_REACHES_THE_MODEL = ("text", "critique_request", "revision_request", "preference_request", "examples", "checks")


class Piece(NamedTuple):
    """A run of words that stayed, was removed or was added."""

    change: Literal["same", "removed", "added"]
    words: str


class FieldChange(NamedTuple):
    """One part of a principle, before and after, as words."""

    field: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class PrincipleChange:
    """What happened to one principle; `recomputes`: whether the change reaches the model."""

    id: str
    title: str
    change: Literal["added", "removed", "reworded", "reweighted", "retagged", "retitled", "renamed"]
    fields: tuple[FieldChange, ...] = ()
    recomputes: bool = False
    former_id: str = ""


@dataclass(frozen=True)
class Diff:
    """Two constitutions compared. `shared` are changes of the preface and of the examples shown with all principles."""

    old: str
    new: str
    old_hash: str
    new_hash: str
    principles: tuple[PrincipleChange, ...]
    shared: tuple[FieldChange, ...]
    reordered: bool

    @property
    def same(self) -> bool:
        """Whether both give the model the same text and draw principles alike."""
        return self.old_hash == self.new_hash


def diff(old: Constitution, new: Constitution) -> Diff:
    """Compare by id; a principle that only got another id is recognised by its hash."""
    before, after = ({p.id: p for p in one.principles} for one in (old, new))
    removed = {id: p for id, p in before.items() if id not in after}
    added = {id: p for id, p in after.items() if id not in before}
    changes = []
    former_ids = {p.hash: id for id, p in removed.items()}
    for new_id, principle in list(added.items()):
        if former := removed.pop(former_ids.get(principle.hash, ""), None):
            # Another id is another draw, so rows change although the words stay.
            fields = _fields(former, added.pop(new_id))
            changes.append(PrincipleChange(new_id, principle.title, "renamed", fields, True, former.id))
    changes += [PrincipleChange(p.id, p.title, "removed", _fields(p, None), True) for p in removed.values()]
    changes += [PrincipleChange(p.id, p.title, "added", _fields(None, p), True) for p in added.values()]
    for id, principle in after.items():
        fields = _fields(before[id], principle) if id in before else ()
        names = {f.field for f in fields}
        # the gravest difference names the change; tags and titles reach neither the model nor the draws
        if names & set(_REACHES_THE_MODEL):
            changes.append(PrincipleChange(id, principle.title, "reworded", fields, recomputes=True))
        elif "weight" in names:
            changes.append(PrincipleChange(id, principle.title, "reweighted", fields, recomputes=True))
        elif names:
            changes.append(PrincipleChange(id, principle.title, "retagged" if "tags" in names else "retitled", fields))
    # Only of principles that both have: added and removed ones are no change of order.
    kept = [p.id for p in old.principles if p.id in after]
    return Diff(
        old=f"{old.name} {old.version}",
        new=f"{new.name} {new.version}",
        old_hash=old.hash,
        new_hash=new.hash,
        principles=tuple(changes),
        shared=_fields(old, new, ("preface", "examples")),
        reordered=kept != [p.id for p in new.principles if p.id in before],
    )


def diff_words(before: str, after: str) -> tuple[Piece, ...]:
    """The difference of two texts in whole words, spaces kept with the word before them."""
    a, b = re.findall(r"\S+\s*", before), re.findall(r"\S+\s*", after)
    pieces: list[Piece] = []
    # autojunk would skip frequent words such as "the" in long texts.
    for tag, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", "".join(a[i:j])))
            continue
        if i < j:
            pieces.append(Piece("removed", "".join(a[i:j])))
        if k < m:
            pieces.append(Piece("added", "".join(b[k:m])))
    return tuple(pieces)


def load_at(name: str) -> Constitution:
    """A constitution from a file, or from a git revision as ``REVISION:path`` (what it extends too).

    Raises:
        ConstitutionError: the file or revision cannot be read, or holds mistakes.
    """
    revision, colon, rest = name.partition(":")
    # A file whose name holds a colon is a file.
    if not colon or Path(name).exists() or not rest:
        return load_constitution(Path(name))
    return load_constitution(Path(rest), lambda path: _read_from_git(revision, path))


def _fields(
    old: Principle | Constitution | None, new: Principle | Constitution | None, names: Sequence[str] = _FIELDS
) -> tuple[FieldChange, ...]:
    changes = []
    for name in names:
        texts = []
        for value in (getattr(one, name) if one else None for one in (old, new)):
            if isinstance(value, tuple):
                texts.append("\n".join(map(str, value)))
            elif isinstance(value, float):
                texts.append(f"{value:g}")
            else:
                texts.append(value or "")
        if texts[0] != texts[1]:
            changes.append(FieldChange(name, diff_words(*texts)))
    return tuple(changes)


def _read_from_git(revision: str, path: Path) -> bytes:
    folder = path.parent if path.parent.is_dir() else Path()
    # git reads REVISION:path from the top of the repository; :./ is relative, but to a folder that still exists.
    name = f"{revision}:./{path.name}" if folder == path.parent else f"{revision}:{path.as_posix()}"
    try:
        done = subprocess.run(["git", "-C", str(folder), "show", name], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unreadable(f"{revision}:{path}", f"git does not answer: {error}") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ").splitlines()
        raise _unreadable(f"{revision}:{path}", f"git cannot read it: {reason[0] if reason else done.returncode}")
    return done.stdout


def _unreadable(name: str, what: str) -> BrokenConstitution:
    return BrokenConstitution(
        [Problem(name, 0, "unreadable", what, "Name a file, or REVISION:path such as HEAD~1:harmless.md.")]
    )
