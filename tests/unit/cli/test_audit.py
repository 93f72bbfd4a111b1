"""``charter judge audit`` from the command line, against a real server that needs no model."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from charter.cli.app import app
from charter.core.errors import CharterError
from charter.testing.null_server import NullServer, run_null_server
from tests.support.judged_pairs import shown

HARMLESS = Path(__file__).parents[3] / "constitutions" / "harmless.md"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["judge", "audit", "--constitution", str(HARMLESS), *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, CharterError), result.output
    return str(result.exception)


def prefers_good(messages: Any) -> str:
    return "A" if shown(messages)[0].startswith("good") else "B"


@pytest.fixture
def server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=prefers_good)) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{i}?", "better": f"good {i}", "worse": f"bad {i}", "kind": "made up"} for i in range(60)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"prompt": "x"}\n')
    return path


def test_a_good_judge_passes_and_leaves_its_files(server: NullServer, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    result = run("--data", data, "--base-url", server.url, "--n", 50, "--out", out, "--sensitivity", 0)
    assert result.exit_code == 0, result.output
    assert re.search(r"^agreement, without ties +100\.0 %  92\.9 to 100\.0 %, n 50$", result.stdout, re.MULTILINE)
    assert "50 judged, 0 failed; 61 read" in result.stdout and "1 not usable, 10 not drawn" in result.stdout
    assert {path.name for path in out.iterdir()} >= {"audit.json", "audit.html", "judged.jsonl", "failures.parquet"}
    record = json.loads((out / "audit.json").read_text())
    assert (record["passed"], record["judge"]["identity"]) == (True, "served:null@unknown")
    assert record["data"]["rejected"] == {"empty-answer": 1}
    assert record["settings"].items() >= {"principles": 3, "tags": [], "tie_margin": 0.05, "seed": 0}.items()
    assert server.counts["requests"] == 50 * 3 * 2


def test_the_same_audit_again_asks_for_nothing(server: NullServer, data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--base-url", server.url, "--n", 20, "--out", tmp_path / "audit", "--json")
    first = json.loads(run(*arguments).stdout)
    asked = server.counts["requests"]
    second = json.loads(run(*arguments).stdout)
    assert server.counts["requests"] == asked
    assert second["figures"] == first["figures"]


def test_a_judge_that_always_says_a_ends_with_status_1(server: NullServer, data: Path, tmp_path: Path) -> None:
    server.answer = lambda messages: "A"
    result = run("--data", data, "--base-url", server.url, "--out", tmp_path / "audit", "--json")
    assert result.exit_code == 1, result.output
    record = json.loads(result.stdout)
    assert not record["passed"]
    assert "position" in {concern["figure"] for concern in record["concerns"]}
    assert record["figures"]["position"]["flips"]["value"] == 1.0


def test_the_floor_decides_about_the_exit_status(server: NullServer, data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--base-url", server.url, "--out", tmp_path / "audit", "--principles", 1)
    assert run(*arguments, "--floor", 0.9).exit_code == 0
    result = run(*arguments, "--floor", 0.99)  # all of 60 right shows 94 % at least
    assert result.exit_code == 1
    assert result.stdout.endswith("under the floor of 99.0 %.\n")


def test_the_sandbox_needs_no_file(server: NullServer, tmp_path: Path) -> None:
    def declines(messages: Any) -> str:  # harm shows in "To steal a bicycle, ..."; help with what is fine does too
        a, _ = shown(messages)
        return "B" if ", and " in a else "A"

    server.answer = declines
    result = run("--base-url", server.url, "--n", 100, "--out", tmp_path / "audit", "--json", "--floor", 0)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    kinds = {name: entry["agreement"]["value"] for name, entry in record["figures"]["by_kind"].items()}
    assert kinds.pop("needless refusal") == 0.0  # this judge would have the assistant decline everything
    assert set(kinds.values()) == {1.0} and len(kinds) == 8
    assert (record["data"]["format"], record["data"]["read"]) == ("sandbox", 100)


def test_another_kind_of_judge_is_audited_as_such(server: NullServer, data: Path, tmp_path: Path) -> None:
    def scores(messages: Any) -> str:
        return "9" if "good" in messages[-1]["content"] else "2"

    server.answer = scores
    result = run("--data", data, "--base-url", server.url, "--kind", "score", "--out", tmp_path / "audit", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["judge"]["kind"], record["figures"]["agreement"]["value"]) == ("score", 1.0)


def split_by(constitution: str) -> Any:
    """Prefers what is good; under a principle with `constitution` in it, what is bad in even pairs."""

    def answer(messages: Any) -> str:
        even = re.search(r"(good|bad) \d*[02468]\b", messages[-1]["content"])
        right = prefers_good(messages)
        return {"A": "B", "B": "A"}[right] if constitution in messages[-1]["content"] and even else right

    return answer


@pytest.fixture
def panel(server: NullServer, data: Path, tmp_path: Path) -> Path:
    """A run's config with a panel of two, one of them with its own constitution."""
    (tmp_path / "south.md").write_text("## South\nAs they hold in the south.\n")
    server.answer = split_by("in the south")
    members = [{"name": "north"}, {"name": "south", "constitution": str(tmp_path / "south.md")}]
    values = {
        "name": "trial",
        "outputs": str(tmp_path),
        "constitution": str(HARMLESS),
        "judge": {"kind": "panel", "panel": members, "principles": 2, "combine": "vote", "base_urls": [server.url]},
        "audit": {"source": str(data), "own_names": ["good writer"], "sensitivity": 0},
    }
    path = tmp_path / "trial.yaml"
    path.write_text(json.dumps(values))  # which is YAML as well
    return path


def audit(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["judge", "audit", *map(str, arguments)])


def test_the_judge_of_a_config_is_audited_as_it_stands_there(panel: Path, server: NullServer, tmp_path: Path) -> None:
    result = audit("--config", panel, "--json", "--floor", 0.5)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "trial" / "judge-audit" / "audit.json").read_text())
    assert record == json.loads(result.stdout)
    assert [member["name"] for member in record["judge"]["members"]] == ["north", "south"]
    assert record["judge"]["members"][0] == {"name": "north", "kind": "choice", "constitution": None, "identity": None}
    assert record["judge"]["members"][1]["constitution"]["name"] == "south"
    assert (record["judge"]["own"], record["settings"]["combine"]) == (["good writer"], "vote")
    assert server.counts["requests"] == 60 * (2 * 2 + 1 * 2)  # two principles and one, in both orders


def test_a_panel_is_measured_where_its_members_agree(panel: Path, server: NullServer, tmp_path: Path) -> None:
    result = audit("--config", panel, "--floor", 0.5)
    assert re.search(r"^pairs on which it splits +50\.0 %  .*, n 60$", result.stdout, re.MULTILINE), result.output
    assert re.search(r"^split on made up +50\.0 %", result.stdout, re.MULTILINE)
    found = json.loads((tmp_path / "trial" / "judge-audit" / "audit.json").read_text())["figures"]
    assert (found["agreement"]["value"], found["agreement"]["n"]) == (1.0, 30)
    members = {name: entry["agreement"]["value"] for name, entry in found["by_member"].items()}
    assert members == {"north": 1.0, "south": 0.5}
    assert found["by_member_on_kind"]["south on made up"]["agreement"]["value"] == 0.5
    assert re.search(r"^south on made up +50\.0 %", result.stdout, re.MULTILINE)
    assert found["dissent"]["made up"]["north"] == found["dissent"]["made up"]["south"] == found["splits"]
    assert "south/south" in found["by_principle"]


def test_a_panel_of_models_is_audited_each_by_its_own(panel: Path, server: NullServer, tmp_path: Path) -> None:
    server.answer = prefers_good
    with run_null_server(NullServer(answer=split_by("Which answer"), model_name="other")) as other:
        values = json.loads(panel.read_text())
        values["judge"]["panel"] = [{"name": "north"}, {"name": "other", "base_urls": [other.url]}]
        panel.write_text(json.dumps(values))
        result = audit("--config", panel, "--json", "--floor", 0.5)
        assert result.exit_code == 0, result.output
        record = json.loads(result.stdout)
        assert [member["identity"] for member in record["judge"]["members"]] == [None, "served:other@unknown"]
        assert (record["figures"]["splits"]["value"], record["figures"]["agreement"]["value"]) == (0.5, 1.0)
        assert server.counts["requests"] == other.counts["requests"] == 60 * 2 * 2


def test_options_go_before_the_config(panel: Path, server: NullServer, tmp_path: Path) -> None:
    result = audit("--config", panel, "--n", 20, "--out", tmp_path / "else", "--seed", 3, "--principles", 1, "--json")
    record = json.loads(result.stdout)
    assert (record["data"]["judged"], record["settings"]["seed"], record["settings"]["principles"]) == (20, 3, 1)
    assert (tmp_path / "else" / "audit.json").is_file() and not (tmp_path / "trial").exists()


def test_a_config_s_templates_and_preface_reach_the_judge(panel: Path, server: NullServer, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "choice.md.j2").write_text(
        "In our words:\n<answer_a>\n{{ answer_a }}\n</answer_a>\n<answer_b>\n{{ answer_b }}\n</answer_b>\n"
    )
    constitution = tmp_path / "constitution.md"
    constitution.write_text("---\nname: constitution\n---\nFor a library.\n\n## Care\nTake care.\n")
    values = json.loads(panel.read_text()) | {"constitution": str(constitution)}
    values["judge"] = {"base_urls": [server.url]}
    values["generation"] = {"preface": True, "templates": str(tmp_path / "templates")}
    panel.write_text(json.dumps(values))
    server.keep_bodies = True
    assert audit("--config", panel, "--n", 5).exit_code == 1  # so few show little
    system, question = server.bodies[0]["messages"]
    assert system == {"role": "system", "content": "For a library."}
    assert question["content"].startswith("In our words:")


def test_columns_can_be_named(server: NullServer, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("q,yes,no,vote\n" + "".join(f"{i}?,good {i},bad {i},better\n" for i in range(30)))
    names = [x for pair in ("prompt=q", "better=yes", "worse=no", "human=vote") for x in ("--column", pair)]
    result = run("--data", path, *names, "--base-url", server.url, "--out", tmp_path / "audit", "--json")
    assert json.loads(result.stdout)["figures"]["kappa"]["value"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "none.jsonl"), "none.jsonl"),
        (("--format", "csv"), "--format 'csv'"),
        (("--kind", "panel"), "--kind 'panel'"),
        (("--kind", "reasoned", "--tie-margin", "0.2"), "leaves nothing outside tie_margin 0.2"),
        (("--column", "x"), "--column 'x'"),
        (("--column", "better=x"), "--column 'better=x': the sandbox has no columns"),
        (("--tag", "nope"), "nope"),
        (("--constitution", "none.md"), "none.md"),
        (("--base-url", "http://127.0.0.1:9/v1"), "http://127.0.0.1:9/v1"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--n", "0"), "audit.n"),
        (("--tie-margin", "0.5"), "judge.tie_margin"),
        (("--config", "none.yaml"), "none.yaml"),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_started(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    assert says in refused("--out", tmp_path / "audit", "--n", 10, *arguments)


def test_the_command_has_a_name_of_its_own() -> None:
    assert CliRunner().invoke(app, ["judge", "--help"]).output.count("audit") >= 1
