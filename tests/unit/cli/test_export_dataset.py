"""The command that exports, and the card that it writes: its code runs, and its front matter is what hubs read."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from charter.cli.app import app, main
from charter.data.export import FORMATS
from charter.data.shards import count_rows, read_rows
from charter.pipeline.counts import StageCount
from charter.report.cards import dataset_card
from charter.report.collect import collect
from tests.support.scripted_run import make_run
from tests.unit.data.test_export import LAW, answer, prompts


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 60 prompts of no kind, to read only."""
    asked = [row | {"kind": None} for row in prompts(60)]
    return make_run(tmp_path_factory.mktemp("outputs"), LAW, asked, answer)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this test's own for `datasets`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def export(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def front(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n", 2)[1]))


def run_code(card: str) -> dict[str, Any]:
    """What the card's Python gives its names."""
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    loaded = (datasets.Dataset, datasets.DatasetDict)
    return {name: value for name, value in names.items() if isinstance(value, loaded)}


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_the_code_of_the_card_loads_every_table(
    run: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(export(run, "--to", tmp_path / "out", "--format", format, "--split", 0.2, "--json").stdout)
    monkeypatch.chdir(tmp_path / "out")
    loaded = run_code((tmp_path / "out" / "README.md").read_text())
    rows = {name: {side: len(part) for side, part in table.items()} for name, table in loaded.items()}
    assert rows == {table["name"]: table["rows"] for table in told["tables"]}
    assert list(rows) == (["unpaired", "sft"] if format == "kto" else ["preference", "sft"])
    assert all(set(sides) == {"train", "test"} for sides in rows.values())


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_hub_finds_tables_sides_and_types_in_the_front_matter(run: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    export(run, "--to", out, "--format", format, "--split", 0.2)
    values = front((out / "README.md").read_text())
    assert values["license"] == "unknown" and values["task_categories"] == ["text-generation"]
    for config in values["configs"]:
        table = datasets.load_dataset(str(out), config["config_name"])  # as a hub does, by the front matter
        assert set(table) == {part["split"] for part in config["data_files"]} == {"train", "test"}
        features = table["train"].features
        assert features["kind"].dtype == "string"  # though every one is empty
        assert (features["p_chosen"].dtype, features["p_by_principle"].feature.dtype) == ("float64", "float64")
        assert list(table["train"][0]["prompt"][0]) == ["role", "content"]


def test_the_card_says_what_is_in_it_who_made_it_and_what_is_not(run: Path, tmp_path: Path) -> None:
    export(run, "--to", tmp_path / "out", "--min-p", 0.75, "--license", "cc-by-4.0")
    card = (tmp_path / "out" / "README.md").read_text()
    data = collect(run)
    assert front(card)["license"] == "cc-by-4.0" and "| as a whole | cc-by-4.0 |" in card
    assert f"Manners, version {data.constitution.version}, hash `{data.constitution.hash}`, 2 principles" in card
    assert f"| answers, critiques, revisions | weights model-1: {count_rows(run / 'responses')} first answers |" in card
    judged = sum(row["p_chosen"] is not None for name in ("pairs", "sft_data") for row in read_rows(run / name))
    assert f"| labels | judge model-1: {judged} labels |" in card
    unchanged = sum(row["reason"] == "unchanged" for row in read_rows(run / "failures"))
    assert f"| pair | unchanged | {unchanged} |" in card and unchanged > 0
    weak = sum(row["p_chosen"] < 0.75 for row in read_rows(run / "pairs"))
    assert f"{weak} rows of `preference` were left out" in card and weak > 0
    assert "| judge, kind | choice |" in card and "| judge, principles | 2 |" in card
    assert "| `p_chosen` | the judge's probability" in card
    assert str(run.parent) not in card  # paths of this machine


def test_the_stages_are_those_of_the_manifest(run: Path, tmp_path: Path) -> None:
    finished = shutil.copytree(run, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["stages"] = {"respond": vars(StageCount("respond", 62, 60, 2, 1.5))}
    (finished / "manifest.json").write_text(json.dumps(manifest))
    export(finished, "--to", tmp_path / "out")
    assert "| respond | 62 | 60 | 2 |" in (tmp_path / "out" / "README.md").read_text()


def test_the_card_of_a_run_loads_its_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = dataset_card(collect(run))
    monkeypatch.chdir(run)
    loaded = run_code(card)
    assert {name: len(table) for name, table in loaded.items()} == {name: count_rows(run / name) for name in loaded}
    assert list(loaded) == ["pairs", "sft_data", "responses", "revisions", "failures"]


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = export(run, "--to", out, "--split", 0, "--min-p", 0.75).stdout.splitlines()
    strong = sum(row["p_chosen"] >= 0.75 for row in read_rows(run / "pairs"))
    weak = count_rows(run / "pairs") - strong
    assert lines[0] == f"preference: {strong} rows to train; {weak} rows of the run left out, under p = 0.75"
    assert lines[-1] == f"Wrote {out}. {out / 'README.md'} says how to load it."


def test_the_command_says_which_table_was_not_written_and_why(run: Path, tmp_path: Path) -> None:
    pairs = count_rows(run / "pairs")
    said = export(run, "--to", tmp_path / "out", "--min-p", 0.9999).stdout
    assert f"preference: not written, none of the run's {pairs} rows has p = 0.9999 or more" in said
    only = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(only / "sft_data")
    assert "sft: not written, the run has no row of it" in export(only, "--to", tmp_path / "more").stdout


def test_a_run_that_has_not_finished_is_said_to_be_so(tmp_path: Path) -> None:
    halfway = make_run(tmp_path / "outputs", LAW, prompts(6), answer)
    (halfway / "manifest.json").unlink()
    assert "has not finished" in export(halfway, "--to", tmp_path / "out").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--to", "OUT"), "run 'nowhere': no config.yaml."),
        (
            ("RUN", "--to", "OUT", "--format", "csv"),
            "--format 'csv': unknown. Use one of: trl, kto, jsonl, datasets.",
        ),
        (("RUN", "--to", "RUN"), "--to 'RUN': already exists and is not empty. Choose another folder or remove it."),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(
    run: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"RUN": str(run), "OUT": str(tmp_path / "out")}
    monkeypatch.setattr("sys.argv", ["charter", "export", *(names.get(argument, argument) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message.replace("RUN", str(run)))
    assert not (tmp_path / "out").exists()
