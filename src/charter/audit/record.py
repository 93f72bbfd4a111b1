"""An audit's files: ``audit.json``, ``audit.html``, ``judged.jsonl`` and ``failures.parquet``."""

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from charter.audit.concerns import concerns, passes
from charter.audit.judged import AuditedPairs
from charter.audit.labelled import LabelledData
from charter.audit.metrics import audit_metrics, worst_mistakes
from charter.config import Generation, Judge
from charter.constitution import Constitution, load_constitution
from charter.core.errors import CountMismatch
from charter.core.files import write_json
from charter.core.messages import transcript
from charter.core.text import plain
from charter.core.version import __version__
from charter.data.schema import SCHEMAS
from charter.data.shards import write_rows
from charter.pipeline.judges.floor import how_asked, label_settings
from charter.pipeline.judges.protocol import JUDGES
from charter.report.audit_plots import breakdown_plot, reliability_plot
from charter.report.audit_text import PARTS, audit_sentence, audit_tables
from charter.report.page import render_page

VERSION = 1


def make_record(
    labelled: LabelledData,
    judged: AuditedPairs,
    constitution: Constitution,
    settings: Judge,
    judge: dict[str, str],
    data: str,
    seed: int = 0,
    own_names: Collection[str] = (),
    member_models: Mapping[str, str] | None = None,
    generation: Generation | None = None,
    sensitivity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``audit.json``.

    Args:
        labelled: the pairs, and where they came from.
        judged: the judge's opinions of them.
        constitution: whose principles the judge was asked about.
        settings: the judge's; `settings.min_agreement` is the floor.
        judge: its model's name and identity.
        data: the source, as the user named it.
        seed: of every draw.
        own_names: names under which the judge's own answers may occur in the data.
        member_models: of a panel, the identities of other models by the members that they judge for.
        generation: the settings with the judge's templates and preface; by default the shipped templates, no preface.
        sensitivity: what `measure_sensitivity` returns; None if it was not measured.

    Raises:
        CountMismatch: pairs were lost.
        ConstitutionError: a member's constitution cannot be read.
    """
    if len(labelled.pairs) != len(judged.pairs) + len(judged.failures):
        raise CountMismatch(
            f"audit: {len(labelled.pairs)} pairs in, {len(judged.pairs)} judged and {len(judged.failures)} failed. "
            "This is a bug in Charter."
        )
    metrics = audit_metrics(judged.pairs, settings.tie_margin, own_names, [member.name for member in settings.panel])
    metrics["sensitivity"] = sensitivity
    floor = settings.min_agreement
    members = [
        {
            "name": member.name,
            "kind": member.kind,
            "constitution": _constitution_id(load_constitution(member.constitution)) if member.constitution else None,
            "identity": (member_models or {}).get(member.name),
        }
        for member in settings.panel
    ]
    # Without NaN and half characters, which neither JSON nor the page can hold.
    record: dict[str, Any] = plain(
        {
            "version": VERSION,
            "charter": __version__,
            "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "judge": {**judge, "kind": settings.kind, "members": members, "own": sorted(own_names)},
            # A run compares these with its own settings before it trusts the audit: see `judges.floor`.
            "settings": {
                **settings.model_dump(mode="json", include=set(label_settings(JUDGES.names()))),
                **how_asked(settings, generation or Generation()),
                "seed": seed,
            },
            "constitution": _constitution_id(constitution),
            "data": {
                "source": data,
                "format": labelled.format,
                "read": labelled.read,
                "rejected": _count_reasons(labelled.rejects),
                "not_drawn": labelled.not_drawn,
                "judged": len(judged.pairs),
                "failed": _count_reasons(judged.failures),
            },
            "floor": floor,
            "max_ties": settings.max_ties,
            "min_sensitivity": settings.min_sensitivity,
            "passed": passes(metrics, floor, settings.max_ties, settings.min_sensitivity),
            "concerns": [concern._asdict() for concern in concerns(metrics, floor)],
            "figures": metrics,
            "mistakes": worst_mistakes(judged.pairs, tie_margin=settings.tie_margin),
        }
    )
    return record


def write_record(folder: Path, record: dict[str, Any], labelled: LabelledData, judged: AuditedPairs) -> Path:
    """Write every file of the audit; returns the path of ``audit.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps(plain(pair.row()), ensure_ascii=False) for pair in judged.pairs)
    (folder / "judged.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    # Rows that were not usable and pairs that could not be judged, so that in = out + failed.
    failures = [plain(row) for row in (*labelled.rejects, *judged.failures)]
    write_rows(folder / "failures.parquet", SCHEMAS["failures"], failures)
    (folder / "audit.html").write_text(render_audit(record), encoding="utf-8")
    return write_json(folder / "audit.json", record)  # last: if it exists, the audit is complete


def render_audit(record: Mapping[str, Any]) -> str:
    """``audit.html`` from the content of ``audit.json``: every text is escaped, and the page makes no requests."""
    record = plain(record)
    figures = record["figures"]
    length = figures["length"]
    rows = [("all pairs", figures["agreement"]), ("in one order", figures["one_order"]["agreement"])]
    rows += [("better is longer", length["better_is_longer"]), ("better is shorter", length["better_is_shorter"])]
    # A breakdown into a single part repeats the line of all pairs; members by kind are too many lines for a plot.
    parts = [key for key in PARTS.values() if len(figures[key]) > 1 and key != "by_member_on_kind"]
    rows += [(name, entry["agreement"]) for key in parts for name, entry in figures[key].items()]
    plots = {
        "reliability": reliability_plot(figures["calibration"]),
        "breakdown": breakdown_plot(rows, record["floor"]),
    }
    mistakes = [
        {
            **mistake,
            "conversation": transcript(mistake["prompt"]),
            "opinions": list(zip(mistake["principles"], mistake["by_principle"], strict=True)),
        }
        for mistake in record["mistakes"]
    ]
    return render_page(
        "page.html.j2",
        [Path(__file__).parent],
        record=record,
        figures=figures,
        sentence=audit_sentence(record),
        tables=audit_tables(record),
        mistakes=mistakes,
        plots={name: Markup(svg) for name, svg in plots.items()},  # the XML writer has escaped the text in them
    )


def _constitution_id(constitution: Constitution) -> dict[str, str]:
    return {"name": constitution.name, "version": constitution.version, "hash": constitution.hash}


def _count_reasons(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(row["reason"] for row in rows).most_common())
