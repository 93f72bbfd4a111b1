"""The verdict before people: a go is one only when somebody has signed it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from charter.evaluation.gate import Verdict
from charter.runs.forms import Question, Signature, read_form


def sign_off_question(folder: Path) -> Question[Signature]:
    """Whether the model of an evaluated run may be used; an answer holds for this evaluation alone."""
    measured = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["models"]
    # Of the measures and not of the file: a report that is made again must not take a signature back.
    about = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:16]
    words = "the verdict is go, if somebody signs it."
    return Question("sign-off", folder, about, Signature, folder / "report.html", words)


def signed(verdict: Verdict, folder: Path) -> Verdict:
    """The verdict on a run that needs a signature: a go without one, or with a no, is no-go.

    Raises:
        DataError: the file with the signature cannot be read.
    """
    if verdict.verdict != "go":
        return verdict
    answer = read_form(sign_off_question(folder))
    if answer is None:
        return replace(verdict, verdict="no-go", outcome="not signed off", sign_off="Nobody has signed it off yet.")
    by = f" by {answer.by}" if answer.by else ""
    text = f"{'Signed off' if answer.approve else 'Refused'}{by}{': ' + answer.comment if answer.comment else '.'}"
    kept = replace(verdict, sign_off=" ".join(text.split()))
    return kept if answer.approve else replace(kept, verdict="no-go", outcome="no-go")
