import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from charter.config import Config, Judge, Member, Selection, Serving, load_config, parse_config, read_override
from charter.config.keys import list_settings
from charter.core.errors import ConfigError
from charter.pipeline.roles import judge_model

CONFIGS = sorted(Path("configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_parses(path: Path) -> None:
    assert load_config(path).constitution.is_file()


def test_defaults_need_nothing() -> None:
    config = Config()
    assert config.run_folder == Path("outputs/run")
    assert config.store_url == "outputs/completions.sqlite"


def test_outputs_on_s3_leave_on_disk_what_needs_one() -> None:
    config = Config.model_validate({"name": "a", "outputs": "s3://bucket/runs/"})
    assert (config.is_remote, str(config.run_folder)) == (True, "s3://bucket/runs/a")
    assert (config.work_folder, config.store_url) == (Path("outputs/a"), "outputs/completions.sqlite")
    assert config.model_dump(mode="json")["outputs"] == "s3://bucket/runs"
    assert not Config().is_remote and Config().work_folder == Config().run_folder


def test_a_login_in_the_address_of_outputs_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="contains a login") as error:
        Config.model_validate({"outputs": "ftp://me:secret-word@host/runs"})
    assert "secret-word" not in str(error.value)


SECRET = "sk-charter-0123456789abcdef"


@pytest.mark.parametrize(
    "values",
    [
        {"serving": {"base_urls": [f"http://me:{SECRET}@models:8000/v1"]}},
        {"serving": {"base_urls": ["http://models:8000/v1", f"https://{SECRET}@models:8000"]}},
        {"serving": {"extra_args": ["--api-key", SECRET]}},
        {"serving": {"extra_args": [f"--api-key={SECRET}"]}},
        {"serving": {"api_key": SECRET}},
        {"serving": {"api_key_env": SECRET}},
        {"judge": {"base_urls": [f"http://me:{SECRET}@models:8000/v1"]}},
        {"judge": {"api_key_env": SECRET}},
        {"judge": {"kind": "panel", "panel": [{"name": "a", "base_urls": [f"http://{SECRET}@models/v1"]}]}},
        {"redteam": {"embeddings": {"base_url": f"http://me:{SECRET}@models:8000/v1"}}},
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(values)
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)
    assert any(way_out in str(caught.value) for way_out in ("api_key_env", "VLLM_API_KEY"))
    with pytest.raises((ConfigError, ValidationError)) as plain:  # as Prefect checks a flow's parameters
        Config.model_validate(values)
    assert SECRET not in str(plain.value)


def test_an_unknown_setting_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ConfigError, match=r"max_token: there is no such setting\. .* generation\.max_tokens"):
        parse_config({"generation": {"max_token": 3}})
    with pytest.raises(ConfigError, match=r"beta: there is no such setting\. .*training\.dpo\.beta"):
        parse_config({"beta": 3})
    with pytest.raises(ConfigError, match=r"no such setting\. API keys must not appear .*CHARTER_API_KEY"):
        parse_config({"serving": {"api_key": SECRET}})


def test_a_wrong_value_of_a_field_with_alternatives_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({"generation": {"concurrency": "some"}})
    _, *lines = str(error.value).splitlines()
    (line,) = lines
    assert line.startswith("  generation.concurrency: ") and " or " in line and line.endswith("(got 'some')")


@pytest.mark.parametrize(
    ("url", "named", "variable"),
    [
        ("http://models:9000/v1", None, "CHARTER_API_KEY"),
        ("http://models:9000/v1", "JUDGE_KEY", "JUDGE_KEY"),
        ("https://elsewhere/v1", None, ""),
        ("https://elsewhere/v1", "JUDGE_KEY", "JUDGE_KEY"),
    ],
)
def test_a_key_goes_to_its_own_hosts_alone(url: str, named: str | None, variable: str) -> None:
    config = Config(
        serving=Serving(base_urls=("http://models:8000/v1",)), judge=Judge(base_urls=(url,), api_key_env=named)
    )
    _, judge = judge_model(config)
    assert (judge.api_key_env, judge.base_urls) == (variable, (url,))


def test_overrides_reach_into_sections(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: a\nprompts: {n: 5}\n")
    config = load_config(path, {"prompts.n": 7, "judge.principles": 2})
    assert (config.name, config.prompts.n, config.judge.principles) == ("a", 7, 2)


def test_an_override_replaces_another_spelling_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("pairs: {n: 6, strategies: {best-worst: 1}}\n")
    config = load_config(path, {"pairs.strategies.best_worst": 0.5, "pairs.answers_per_prompt": 8})
    assert (config.pairs.strategies.best_worst, config.pairs.answers_per_prompt) == (0.5, 8)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("name=2024", "name", "2024"),
        ("name=007", "name", "007"),
        ("name=1e3", "name", "1e3"),
        ("name=2024-01-31", "name", "2024-01-31"),
        ("name=on", "name", "on"),
        ("judge.model=null", "judge.model", None),
        ("judge.model=", "judge.model", None),
        ("serving.model_revision=2026-11-30", "serving.model_revision", "2026-11-30"),
        ("constitution=2024", "constitution", Path("2024")),
        ("serving.extra_args=[--seed, 1]", "serving.extra_args", ("--seed", "1")),
        ("audit.columns={better: 1}", "audit.columns", {"better": "1"}),
        ("prompts.n=1e3", "prompts.n", 1000),
        ("prompts.n=1.0e+3", "prompts.n", 1000),
        ("prompts.n=null", "prompts.n", None),
        ("generation.concurrency=1E2", "generation.concurrency", 100),
        ("generation.rounds=all", "generation.rounds", "all"),
        ("training.watch=off", "training.watch", "off"),
        ("pairs.filters.near_identical=off", "pairs.filters.near_identical", None),
        ("prompts.near_duplicates=off", "prompts.near_duplicates", None),
        ("generation.preface=yes", "generation.preface", True),
        ("review=off", "review.labels", False),
    ],
)
def test_a_value_is_read_as_its_field_wants_it(tmp_path: Path, text: str, key: str, value: Any) -> None:
    def of(config: Any) -> Any:
        for name in key.split("."):
            config = getattr(config, name)
        return config

    assert of(load_config(None, dict([read_override(text)]))) == value
    dotted, _, given = text.partition("=")
    *sections, last = dotted.split(".")
    path = tmp_path / "c.yaml"
    path.write_text(
        "".join(f"{'  ' * i}{name}:\n" for i, name in enumerate(sections)) + f"{'  ' * len(sections)}{last}: {given}"
    )
    assert of(load_config(path)) == value
    assert of(Config.model_validate(load_config(path).model_dump(mode="json"))) == value


@pytest.mark.parametrize(
    "values",
    [{"training": {"watch": False}}, {"pairs": {"filters": {"repetition": False}}}],
    ids=["a word", "a threshold"],
)
def test_off_is_understood_where_yaml_was_read_elsewhere(values: dict[str, Any]) -> None:
    config = Config.model_validate(values)  # as Prefect reads prefect.yaml
    assert config.training.watch == "off" or config.pairs.filters.repetition is None


@pytest.mark.parametrize("text", ["prompts.n=1.5e0", "prompts.n=1e400", "prompts.n=ten", "name=[a", "name"])
def test_a_wrong_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        load_config(None, dict([read_override(text)]))


def test_a_key_that_is_given_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: a\nprompts:\n  n: 5\n  source: sandbox\n  n: 7\n")
    with pytest.raises(ConfigError, match=r"'n' is given twice, in lines 3 and 5"):
        load_config(path)
    path.write_text("prompts: &p\n  n: 5\nname: a\njudge: {tags: &t [kind]}\ngeneration:\n  selection: {tags: *t}\n")
    assert load_config(path).generation.selection.tags == ("kind",)  # an alias is no repetition


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    keys = (
        "constitution", "model", "outputs", "store", "prompts.source", "generation.templates", "judge.model",
        "judge.audit", "audit.source", "audit.output", "evaluation.source", "evaluation.harness.include_path",
        "evaluation.harness.tokenizer", "training.accelerate_config", "redteam.seed_examples", "serving.python",
    )  # fmt: skip
    values = load_config(None, dict.fromkeys(keys, "~/x")).model_dump(mode="json")
    for key in keys:
        value: Any = values
        for name in key.split("."):
            value = value[name]
        assert value == "/home/ada/x", key
    suite = {"task": "~/tasks.py@mine"}
    assert load_config(None, {"evaluation.suites": [suite]}).evaluation.suites[0].task == "/home/ada/tasks.py@mine"


def test_a_former_name_works_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = Config.model_validate({"pairs": {"n": 6}, "audit": {"own": ["me"]}, "redteam": {"seeds": "a.csv"}})
    assert (config.pairs.answers_per_prompt, config.audit.own_names) == (6, ("me",))
    assert config.redteam.seed_examples == "a.csv"
    assert [message for message in caplog.messages if "'n' is now 'answers_per_prompt'" in message]
    assert len(caplog.messages) == 3
    pattern = Config.model_json_schema()["$defs"]["Pairs"]["patternProperties"]
    assert list(pattern) == ["^n$"]  # or Prefect's server would refuse it
    with pytest.raises(ConfigError, match="former name of 'answers_per_prompt'"):
        parse_config({"pairs": {"n": 6, "answers_per_prompt": 6}})


def test_the_form_shows_the_essential_settings_first() -> None:
    schema = Config.model_json_schema()
    essential = ["name", "constitution", "model", "prompts", "generation", "judge", "training", "evaluation", "gate"]
    assert list(schema["properties"])[:9] == essential
    for section in (schema, *schema["$defs"].values()):
        fields = section["properties"].values()
        assert [field["position"] for field in fields] == list(range(len(fields)))
        marks = [field.get("advanced", False) for field in fields]
        assert marks == sorted(marks), section["title"]
    assert schema["$defs"]["Generation"]["properties"]["shard_size"]["title"] == "Shard Size (advanced)"


def test_advanced_and_former_names_are_those_of_fields() -> None:
    for section in {setting.section for setting in list_settings()}:
        assert section.advanced <= section.model_fields.keys()
        assert set(section.renamed.values()) <= section.model_fields.keys() - section.renamed.keys()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("prompts: {n: -3}", "prompts.n"),
        ("generation: {rounds: 0}", "generation.rounds"),
        ("judge: {tie_margin: 0.5}", "judge.tie_margin"),
        ("judge: {kind: [choice]}", "judge.kind"),
        ("judge: {kind: panel}", "judge: .*two or more members"),
        ("judge: {panel: [{name: a}, {name: b}]}", "judge: .*needs `kind: panel`"),
        ("judge: {kind: panel, panel: [{name: a}]}", "judge: .*two or more members"),
        ("judge: {kind: panel, panel: [{name: a}, {name: a}]}", "judge: .*its own name"),
        ("judge: {kind: panel, panel: [{name: ../a}, {name: b}]}", "judge.panel.0.name"),
        ("judge: {kind: reasoned, clamp: 0.45}", r"clamp 0\.45 leaves nothing outside tie_margin 0\.05"),
        ("generation: {selection: {how: some}}", "generation.selection.how"),
        ("generation: {selection: {principles: 0}}", "generation.selection.principles"),
        ("pairs: {strategies: {revision: 0}}", "pairs.strategies: .*all shares are 0"),
        ("pairs: {strategies: {best-worst: 1.5}}", "pairs.strategies.best-worst"),
        ("pairs: {strategies: {off-policy: 1}}", "pairs.strategies.off-policy"),
        ("pairs: {strategies: {revision: 0, on-policy: 1}}", "pairs.strategies: .*all shares are 0 except on-pol"),
        ("training: {rounds: 2, preference: grpo}", "training: .*2 rounds need `preference: dpo`"),
        ("pairs: {answers_per_prompt: 1}", "pairs.answers_per_prompt"),
        ("outputs: nope://bucket/runs", r"outputs: .*nope"),
        ("runner: slurm", "runner.kind"),
        ("nmae: demo", "nmae"),
        ("name: ../up", "name"),
        ("training: {dpo: {beta: 0}}", "training.dpo.beta"),
        ("training: {preference: ppo}", "training.preference"),
        ("training: {preference: grpo, rounds: 2}", "training: .*2 rounds need `preference: dpo`"),
        ("training: {grpo: {group: 1}}", "training.grpo.group"),
        ("training: {grpo: {batch_size: 12}}", "training: .*12 answers per step .* not a whole number of groups of 8"),
        ("serving: {port: 99999}", "serving.port"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=field) as error:
        load_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words"], ids=["a list", "not YAML", "a string"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml")


def test_every_field_is_described_for_the_form() -> None:
    def described(schema: dict[str, object]) -> list[str]:
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        return [name for name, value in properties.items() if not value.get("description")]

    schema = Config.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        assert described(section) == [], section["title"]


def test_config_imports_without_torch_vllm_or_prefect() -> None:
    imports = "import sys, charter.runs.preflight, charter.runs.folder"
    code = f"{imports}\nprint({{'torch', 'vllm', 'prefect', 'trl'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_a_panel_is_kept_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "judge:\n  kind: panel\n  panel:\n  - {name: north}\n"
        "  - {name: south, kind: critic, constitution: constitutions/honest.md}\n"
    )
    config = load_config(path)
    south = Member(name="south", kind="critic", constitution=Path("constitutions/honest.md"))
    assert config.judge.panel == (Member(name="north", kind="choice", constitution=None), south)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config


def test_the_selection_of_principles_is_a_section_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("generation: {preface: true, selection: {how: all, tags: [honest]}}\njudge: {tags: [kind]}\n")
    config = load_config(path)
    assert config.generation.selection == Selection(how="all", principles=1, tags=("honest",), replacement=False)
    assert (config.generation.preface, config.judge.tags) == (True, ("kind",))
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config  # as a run's folder keeps it


def test_strategies_are_named_in_the_file_as_in_the_data(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("pairs: {answers_per_prompt: 6, strategies: {best-worst: 0.5, every-revision: 1}}\n")
    config = load_config(path, {"pairs.strategies.helpful": 0.25})
    assert config.pairs.strategies.shares == {
        "revision": 1.0, "every-revision": 1.0, "helpful": 0.25, "samples": 0.0, "best-worst": 0.5,
        "on-policy": 0.0,
    }  # fmt: skip
    assert config.pairs.sampled and config.pairs.mixed
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config


def test_by_default_a_run_makes_the_pairs_it_always_made() -> None:
    pairs = Config().pairs
    assert [name for name, share in pairs.strategies.shares.items() if share] == ["revision"]
    assert not pairs.sampled and not pairs.mixed


@pytest.mark.parametrize(("text", "labels"), [("review: true", True), ("review: {n: 5}", False), ("", False)])
def test_people_are_asked_in_short_or_at_length(tmp_path: Path, text: str, labels: bool) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    review = load_config(path).review
    assert (review.labels, review.sign_off) == (labels, False)
