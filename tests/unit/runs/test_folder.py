from collections import Counter
from pathlib import Path

import pytest

from charter.config import Config, Filters, Generation, Judge, Pairs, Selection, Strategies, load_config
from charter.constitution import load_kept_constitution
from charter.core.errors import ConfigError
from charter.core.messages import Messages
from charter.data.shards import read_rows
from charter.inference.completion import Sampling
from charter.pipeline.context import RunContext
from charter.pipeline.shards import balance_pairs
from charter.report.collect import collect
from charter.runs import folder as run_folder
from charter.runs.blame import blame_run
from charter.runs.preflight import check_config
from charter.testing.null_server import NullServer, run_null_server
from tests.support.finished_run import answer, make_data
from tests.support.finished_run import settings as settings_of
from tests.support.scripted_run import make_run


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generation": Generation(selection=Selection(tags=("sour",)))}, r"tags \['sour'\]: no principle of 'law'"),
        ({"judge": Judge(tags=("sour",))}, r"tags \['sour'\]: no principle of 'law'"),
        ({"generation": Generation(selection=Selection(how="one-per-tag"))}, "no principle of 'law' has a tag"),
        ({"generation": Generation(preface=True)}, r"generation\.preface 'true': .*law\.md' has no preface"),
        ({"pairs": Pairs(filters=Filters(language=True))}, "pairs.filters.language 'true': 'tlh', the language of"),
        ({"pairs": Pairs(strategies=Strategies(on_policy=0.5))}, r"on-policy '0\.5': there is no round after the fir"),
    ],
    ids=["tags", "judge's tags", "one per tag", "preface", "language", "rounds"],
)
def test_settings_that_the_constitution_cannot_serve_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    law = tmp_path / "law.md"
    law.write_text("---\nname: law\nlanguage: tlh\n---\n## Privacy\nKeep secrets.\n")
    with pytest.raises(ConfigError, match=message):
        check_config(Config(constitution=law, **settings))


def grow(messages: Messages, sampling: Sampling) -> str | float:
    """First answers of 8 to 28 characters, most of them longer than the safe one that the judge prefers."""
    asked = messages[-1]["content"]
    if sampling.choices:
        return 0.9 if "<answer_a>\nsafe" in asked else 0.1
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('bad') else 'respected'}"
    return "safe answer" if asked.startswith("Rewrite") else f"bad {asked[9:11]} {'x' * (int(asked[9:11]) % 20)}"


def test_pairs_leave_for_the_balance_of_lengths_and_are_kept_as_failures(tmp_path: Path) -> None:
    law = "---\nname: law\n---\n## Kind\nBe kind.\n\n## True\nBe true.\n"
    prompts = [{"id": f"r{i}", "prompt": f"Question {i:02d} ?"} for i in range(80)]
    folder = make_run(tmp_path, law, prompts, grow, shard_size=30)
    before = {row["pair_id"]: row for row in read_rows(folder / "pairs")}
    config = load_config(folder / "config.yaml", {"pairs.length_balance": True})
    run = RunContext(config, load_kept_constitution(folder), folder, {})

    count = balance_pairs(run)
    after = {row["pair_id"]: row for row in read_rows(folder / "pairs")}
    longer = [len(row["chosen"]) - len(row["rejected"]) for row in after.values()]
    assert sum(by > 0 for by in longer) == sum(by < 0 for by in longer) > 0
    lost = [row for row in read_rows(folder / "failures") if row["stage"] == "mix"]
    assert {row["reason"] for row in lost} == {"length-balance"} and len(lost) > 5
    left = {row["pair_id"] for row in lost}
    assert left | set(after) == set(before) and not left & set(after)
    assert (count.rows_in, count.rows_out, count.failed) == (len(before), len(after), len(lost))
    assert all(before[id] == row for id, row in after.items())
    assert lost[0]["detail"] == f"{before[lost[0]['pair_id']]['chosen']!r} | {before[lost[0]['pair_id']]['rejected']!r}"
    assert balance_pairs(run).failed == 0  # balanced already


def test_blame_and_report_count_every_pair_of_a_row(tmp_path: Path) -> None:
    law = "---\nname: law\n---\n## Kind\nBe kind.\n\n## True\nBe true.\n"
    prompts = [{"id": f"r{i}", "prompt": f"Question {i:02d} ?"} for i in range(40)]
    several = Pairs(strategies=Strategies(every_revision=1, samples=1), answers_per_prompt=2)
    folder = make_run(tmp_path, law, prompts, grow, pairs=several)
    pairs, failures = (list(read_rows(folder / name)) for name in ("pairs", "failures"))
    labelled = [row for row in read_rows(folder / "sft_data") if row["p_chosen"] is not None]
    blame = blame_run(folder)
    assert blame.finished and blame.total.judged == len(pairs) + len(labelled) == 40
    # one change makes a ladder of one step, and both samples of a prompt read the same: under no principle
    reasons = Counter((row["reason"], row["principle_ids"] is None) for row in failures)
    assert reasons == {("duplicate", True): len(pairs), ("identical", True): len(pairs)}
    assert (blame.total.ties, blame.total.failed) == (0, 0)
    data = collect(folder)
    assert data.pair_strategies == {"revision": len(pairs)}
    assert {(lost.reason, lost.count) for lost in data.failures} == {
        ("duplicate", len(pairs)),
        ("identical", len(pairs)),
    }


def test_a_manifest_goes_before_what_it_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed while it clears its folder leaves no manifest of shards that are gone."""

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with run_null_server(NullServer(answer=answer)) as server:
        config = settings_of(tmp_path, server.url)
        folder = make_data(config)
    assert (folder / "manifest.json").is_file()
    monkeypatch.setattr(run_folder, "_clear", killed)
    with pytest.raises(KeyboardInterrupt):
        run_folder.reset_run_folder(config)
    assert not (folder / "manifest.json").exists() and (folder / "pairs").is_dir()


def test_a_finished_run_is_kept_when_another_one_takes_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        config = settings_of(tmp_path, server.url)
        folder = make_data(config)
        (folder / "gate.json").write_text('{"verdict": "go"}')
        (folder / "sft").mkdir()
        (folder / "sft" / "DONE").write_text("{}")
        (folder / "sft" / "model.safetensors").write_bytes(b"weights")

        make_data(config)  # the same run again replaces its own results
        assert not folder.with_name(f"{folder.name}.1").exists()
        (folder / "gate.json").write_text('{"verdict": "go"}')

        make_data(config.model_copy(update={"seed": 7}))
        kept = folder.with_name(f"{folder.name}.1")
        assert (kept / "gate.json").read_text() == '{"verdict": "go"}' and (kept / "manifest.json").is_file()
        assert load_config(kept / "config.yaml").seed == config.seed
        assert not (folder / "gate.json").exists()
        assert (folder / "sft" / "model.safetensors").samefile(kept / "sft" / "model.safetensors")
        assert "an earlier run of this name had other settings" in caplog.text

        law = config.constitution.read_text()
        config.constitution.write_text(law.replace("---\n", "---\n", 1) + "\n## Another\nBe another.\n")
        make_data(config.model_copy(update={"seed": 7}))
        assert folder.with_name(f"{folder.name}.2").is_dir()
