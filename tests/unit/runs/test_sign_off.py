"""A go is one only when somebody has signed it."""

import json
from pathlib import Path

import pytest

from charter.config import Review, load_config
from charter.core.errors import RegistryError
from charter.report.headline import headline_text
from charter.runs.forms import Signature, read_form, write_form
from charter.runs.registry.promotion import promote
from charter.runs.sign_off import sign_off_question
from charter.runs.verdict import decide_and_save
from tests.support.judged_run import make_judged_run


def make_unsigned_run(outputs: Path, harmful: int = 0) -> Path:
    return make_judged_run(outputs, harmful=harmful, review=Review(sign_off=True))


def test_without_a_signature_a_go_is_no_go(tmp_path: Path) -> None:
    folder = make_unsigned_run(tmp_path)
    config = load_config(folder / "config.yaml")
    verdict = decide_and_save(config)
    assert (verdict.verdict, verdict.outcome) == ("no-go", "not signed off")
    assert all(check.passed for check in verdict.checks)
    assert "\n  Nobody has signed it off yet." in headline_text({}, verdict.to_dict())

    write_form(sign_off_question(folder), Signature(approve=True, by="Ada", comment="fit\nfor use"))
    signed = decide_and_save(config)
    assert (signed.verdict, signed.outcome) == ("go", "go")
    assert signed.sign_off == "Signed off by Ada: fit for use"
    assert json.loads((folder / "gate.json").read_text())["sign_off"] == signed.sign_off

    write_form(sign_off_question(folder), Signature(approve=False))
    refused = decide_and_save(config)
    assert (refused.verdict, refused.outcome, refused.sign_off) == ("no-go", "no-go", "Refused.")


def test_a_signature_is_for_one_evaluation_alone(tmp_path: Path) -> None:
    folder = make_unsigned_run(tmp_path)
    write_form(sign_off_question(folder), Signature(approve=True))
    make_unsigned_run(tmp_path, harmful=1)
    assert read_form(sign_off_question(folder)) is None
    assert decide_and_save(load_config(folder / "config.yaml")).outcome == "not signed off"


def test_nobody_signs_what_breaks_a_limit(tmp_path: Path) -> None:
    folder = make_unsigned_run(tmp_path, harmful=80)
    write_form(sign_off_question(folder), Signature(approve=True))
    verdict = decide_and_save(load_config(folder / "config.yaml"))
    assert (verdict.verdict, verdict.outcome, verdict.sign_off) == ("no-go", "no-go", "")


def test_a_run_that_nobody_signed_is_not_accepted(tmp_path: Path) -> None:
    folder = make_unsigned_run(tmp_path)
    with pytest.raises(RegistryError, match=r"not signed off, so it is not accepted\. .* Nobody has signed it off yet"):
        promote(folder, by="Ada")
    write_form(sign_off_question(folder), Signature(approve=True))
    assert promote(folder, by="Ada").verdict == "go"
