"""An audit from labelled pairs to its files: ``audit.json``, ``audit.html``, ``judged.jsonl``, ``failures.parquet``."""

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.audit.concerns import concerns, passes
from charter.audit.judged import Judged
from charter.audit.labelled import Labelled
from charter.audit.metrics import figures, mistakes
from charter.config import Generation, Judge
from charter.constitution import Constitution, load_constitution
from charter.core.errors import CountMismatch
from charter.core.files import write_json
from charter.core.text import plain
from charter.core.version import __version__
from charter.data.schema import SCHEMAS
from charter.data.shards import write_rows
from charter.pipeline.judges.floor import how_asked, label_settings
from charter.pipeline.judges.protocol import JUDGES

VERSION = 1


def make_record(
    labelled: Labelled,
    judged: Judged,
    law: Constitution,
    settings: Judge,
    judge: dict[str, str],
    data: str,
    seed: int = 0,
    own: Collection[str] = (),
    members: Mapping[str, str] | None = None,
    generation: Generation | None = None,
) -> dict[str, Any]:
    """All of an audit, as it stands in ``audit.json``.

    Args:
        labelled: where the pairs came from.
        judged: what the judge said about them.
        law: whose principles the judge was asked about.
        settings: the judge's; `settings.min_agreement` is the floor.
        judge: its model's name and identity.
        data: the source, as the user named it.
        seed: of every draw.
        own: names under which the judge's own answers may stand in the data.
        members: of a panel those for whom another model judges, with its identity.
        generation: the settings with the judge's templates and preface; the shipped ones and none when empty.

    Raises:
        CountMismatch: pairs went missing.
        ConstitutionError: a member's constitution cannot be read.
    """
    if len(labelled.pairs) != len(judged.pairs) + len(judged.failures):
        raise CountMismatch(
            f"audit: {len(labelled.pairs)} pairs in, {len(judged.pairs)} judged and {len(judged.failures)} failed. "
            "This is a bug in Charter."
        )
    found = figures(judged.pairs, settings.tie_margin, own, [member.name for member in settings.panel])
    floor = settings.min_agreement
    record = {
        "version": VERSION,
        "charter": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "judge": {**judge, "kind": settings.kind, "members": _members(settings, members or {}), "own": sorted(own)},
        "settings": {
            **settings.model_dump(mode="json", include=set(label_settings(JUDGES.names()))),
            **how_asked(settings, generation or Generation()),
            "seed": seed,
        },
        "constitution": _named(law),
        "data": {"source": data, "format": labelled.format, **_counts(labelled, judged)},
        "floor": floor,
        "max_ties": settings.max_ties,
        "passed": passes(found, floor, settings.max_ties),
        "concerns": [concern._asdict() for concern in concerns(found, floor)],
        "figures": found,
        "mistakes": mistakes(judged.pairs, tie_margin=settings.tie_margin),
    }
    kept: dict[str, Any] = plain(record)
    return kept


def write_record(folder: Path, record: dict[str, Any], labelled: Labelled, judged: Judged) -> Path:
    """Write every file, ``audit.json`` last: where it stands, the audit is whole. Returns its path."""
    from charter.audit.page import render_audit  # matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps(plain(pair.row()), ensure_ascii=False) for pair in judged.pairs)
    (folder / "judged.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    failures = [plain(row) for row in (*labelled.rejects, *judged.failures)]
    write_rows(folder / "failures.parquet", SCHEMAS["failures"], failures)
    (folder / "audit.html").write_text(render_audit(record), encoding="utf-8")
    return write_json(folder / "audit.json", record)


def _members(settings: Judge, models: Mapping[str, str]) -> list[dict[str, Any]]:
    """The members of a panel, each with the constitution and the model of its own, if it has them."""
    laws = [load_constitution(member.constitution) if member.constitution else None for member in settings.panel]
    return [
        {
            "name": member.name,
            "kind": member.kind,
            "constitution": _named(law) if law else None,
            "identity": models.get(member.name),
        }
        for member, law in zip(settings.panel, laws, strict=True)
    ]


def _named(law: Constitution) -> dict[str, str]:
    return {"name": law.name, "version": law.version, "hash": law.hash}


def _counts(labelled: Labelled, judged: Judged) -> dict[str, Any]:
    return {
        "read": labelled.read,
        "rejected": _by_reason(labelled.rejects),
        "not_drawn": labelled.not_drawn,
        "judged": len(judged.pairs),
        "failed": _by_reason(judged.failures),
    }


def _by_reason(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(row["reason"] for row in rows).most_common())
