"""An exported model is its source, adapters merged; what is not go says so, and never has an accepted name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import Result
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from charter.cli.app import app, main
from charter.config import Training
from charter.core.errors import ModelError
from charter.inference.identity import model_identity
from charter.publishing.comparison import GreedyAnswer, compare_with_source
from charter.publishing.source import ExportSource, find_source, verdict_status
from charter.runs.manifest import write_manifest
from charter.runs.registry.promotion import promote
from charter.training import models
from charter.training.token_worker import greedy_gaps
from tests.support.judged_run import COUNTS, make_judged_run
from tests.support.tiny_model import make_tiny_model
from tests.support.training_build import stir


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(tiny: Path) -> Path:
    """A LoRA adapter of the tiny model that changes what it says."""
    from peft import get_peft_model

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny), models.adapters(Training(method="lora", lora_rank=4))
    )
    stir(model)
    folder = tiny.with_name("adapter")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def judged(tiny: Path, tmp_path: Path) -> Path:
    return make_run_of(tiny, tmp_path / "outputs")


def make_run_of(model: Path, outputs: Path, **changes: int) -> Path:
    """A finished run whose judged model is `model`."""
    run = make_judged_run(outputs, **changes)
    shutil.copytree(model, run / "dpo", dirs_exist_ok=True)
    write_manifest(run, COUNTS, {"base": "sha256:00", "dpo": model_identity(run / "dpo")})
    return run


def export(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["export-model", *map(str, arguments), "--no-check"])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def logits(model: object, tokenizer: object) -> torch.Tensor:
    ids = tokenizer("How do I repair a bicycle?", return_tensors="pt")["input_ids"]  # type: ignore[operator]
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=ids).logits)  # type: ignore[operator]


def test_a_model_is_copied_with_what_it_takes_to_serve_it(judged: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = json.loads(export(judged, out, "--json").stdout)
    assert told == {
        "folder": str(out),
        "source": str(judged / "dpo"),
        "merged_into": None,
        "verdict": "go",
        "compared": None,
    }
    files = {path.name for path in out.iterdir()}
    assert files == {path.name for path in tiny.iterdir()} | {"README.md"}
    assert all((out / name).read_bytes() == (tiny / name).read_bytes() for name in files - {"README.md"})
    card = (out / "README.md").read_text()
    assert "Do not use it" not in card
    assert 'from_pretrained(".")' in card and "vllm serve ." in card
    assert "- Checked: nothing was compared (--no-check)." in card.replace("\\", "")
    assert not list(tmp_path.glob(".*unfinished"))


def test_an_adapter_is_merged_and_gives_the_same_logits(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    out = tmp_path / "out"
    said = export(adapter, out)
    assert f"the LoRA adapter {adapter.name} merged into {tiny.name}." in said.stdout
    assert "is not in the folder of a run" in said.stderr
    tokenizer = AutoTokenizer.from_pretrained(out)
    base = AutoModelForCausalLM.from_pretrained(tiny)
    plain = logits(base, tokenizer)
    apart = logits(PeftModel.from_pretrained(base, adapter).eval(), tokenizer)
    merged = logits(AutoModelForCausalLM.from_pretrained(out), tokenizer)
    assert (merged - apart).abs().max() < 1e-4 < 0.1 < (merged - plain).abs().max()
    assert {"chat_template.jinja", "tokenizer.json", "generation_config.json", "README.md"} <= {
        path.name for path in out.iterdir()
    }
    assert not list(out.glob("adapter*"))


def test_answers_are_held_against_what_the_source_would_have_said(tiny: Path, adapter: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny).eval()
    answers = []
    for question in ("What is the capital of France?", "Seven?"):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        answer = model.generate(prompt, max_new_tokens=6, do_sample=False)[0, prompt.shape[1] :]
        answers.append(GreedyAnswer(question, prompt[0].tolist(), answer.tolist()))
    assert greedy_gaps(str(tiny), None, [one._asdict() for one in answers]).gaps == [0.0, 0.0]
    compared = compare_with_source(ExportSource(tiny), answers)
    assert (compared.n, compared.same) == (2, 2)
    assert str(compared).startswith("2 of 2 greedy answers served by vLLM are token for token")
    assert greedy_gaps(str(adapter), str(tiny), [one._asdict() for one in answers]).other_prompts == 0
    strange = answers[0]._replace(answer_ids=[token + 1 for token in answers[0].answer_ids])
    with pytest.raises(ModelError, match="its export answers differently: 1 of 2 greedy answers differ, by up to 0"):
        compare_with_source(ExportSource(tiny), [strange, answers[1]])
    with pytest.raises(ModelError, match="turns 1 of 2 prompts into other tokens"):
        compare_with_source(ExportSource(tiny), [answers[0], answers[1]._replace(prompt_ids=[7])])


def test_a_no_go_says_so_and_never_has_an_accepted_name(tiny: Path, tmp_path: Path) -> None:
    accepted = promote(make_run_of(tiny, tmp_path), "Ada")
    run = make_run_of(tiny, tmp_path, harmful=80)
    said = export(run, tmp_path / "out")
    assert "Warning: This model did not pass its gate: it is no-go." in said.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert "> **This model did not pass its gate: it is no-go. Do not use it as an aligned model." in card
    for name in (tmp_path / "elsewhere" / accepted.id, tmp_path / "accepted" / "mine"):
        refused = CliRunner().invoke(app, ["export-model", str(run), str(name), "--no-check"])
        assert "the name of an accepted model, and this one is not go" in str(refused.exception)
        assert not name.exists()
    go = tmp_path / accepted.folder
    export(go, tmp_path / "elsewhere" / accepted.id)
    assert verdict_status(find_source(go)).verdict == "go"


def test_a_verdict_is_on_these_weights_or_on_none(judged: Path, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, judged / "sft")
    assert verdict_status(find_source(judged / "sft")) == ("none", "The verdict of its run is on dpo, and this is sft.")
    forced = promote(make_run_of(tiny, tmp_path / "others", harmful=80), "Ada", force=True, reason="red team")
    assert verdict_status(find_source(tmp_path / "others" / forced.folder)).verdict == "no-go"
    (judged / "dpo" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "changed since the verdict" in verdict_status(find_source(judged)).warning
    (judged / "manifest.json").unlink()
    assert "has not finished" in verdict_status(find_source(judged)).warning


def test_a_verdict_that_somebody_wrote_over_counts_for_nothing(tiny: Path, tmp_path: Path) -> None:
    accepted = promote(make_run_of(tiny, tmp_path), "Ada")
    run = make_run_of(tiny, tmp_path, harmful=80)
    gate = json.loads((run / "gate.json").read_text())
    (run / "gate.json").write_text(json.dumps(gate | {"verdict": "go", "outcome": "go"}))
    assert verdict_status(find_source(run)) == ("none", "Changed since its run ended: gate.json.")
    refused = CliRunner().invoke(app, ["export-model", str(run), str(tmp_path / "x" / accepted.id), "--no-check"])
    assert "the name of an accepted model, and this one is not go" in str(refused.exception)


def test_weights_that_were_copied_out_of_their_run_never_have_an_accepted_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = promote(make_run_of(tiny, tmp_path / "outputs"), "Ada")
    loose = shutil.copytree(make_run_of(tiny, tmp_path / "outputs", harmful=80) / "dpo", tmp_path / "loose")
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path / "outputs" / accepted.id, tmp_path / "outputs" / "x" / accepted.id, tmp_path / accepted.id):
        refused = CliRunner().invoke(app, ["export-model", str(loose), str(out), "--no-check"])
        assert "the name of an accepted model, and this one is not go. There is no verdict" in str(refused.exception), (
            out
        )
        assert not out.exists()
    export(loose, tmp_path / "outputs" / "loose")


def spoil(folder: Path, kind: str) -> Path:
    """A folder with a model or adapter that cannot be exported."""
    folder.mkdir()
    files = {
        "empty": {},
        "weightless": {"config.json": {"architectures": ["LlamaForCausalLM"]}},
        "reward": {"config.json": {"architectures": ["LlamaForSequenceClassification"]}},
        "broken": {"config.json": "{"},
        "prefix": {"adapter_config.json": {"peft_type": "PREFIX_TUNING"}},
        "no-base": {"adapter_config.json": {"peft_type": "LORA"}, "adapter_model.safetensors": ""},
        "orphan": {
            "adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "/no/such/base"},
            "adapter_model.safetensors": "",
        },
        "mute": {"config.json": {"architectures": ["LlamaForCausalLM"]}, "model.safetensors": ""},
        "run": {"config.yaml": "", "constitution.md": ""},
    }
    for name, content in files[kind].items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "contains neither a model (config.json) nor a LoRA adapter"),
        ("weightless", "has no weights as safetensors"),
        ("reward", "a reward model, which cannot answer"),
        ("broken", "cannot be read"),
        ("prefix", "of type PREFIX_TUNING, which cannot be merged"),
        ("no-base", "names no base model"),
        ("orphan", "model '/no/such/base': no such folder"),
        ("mute", "has no tokenizer with a chat template"),
        ("run", "has no model 'dpo' in its folder. Name a run that trained one."),
    ],
)
def test_wrong_input_is_one_message_and_exit_status_2(
    tmp_path: Path, kind: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["charter", "export-model", str(spoil(tmp_path / kind, kind)), str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_a_folder_with_something_in_it_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    refused = CliRunner().invoke(app, ["export-model", str(tiny), str(tmp_path), "--no-check"])
    assert str(refused.exception).startswith(f"out '{tmp_path}': already exists and is not empty.")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    refused = CliRunner().invoke(app, ["export", str(tiny), "--to", str(tmp_path / "out")])
    assert f"charter export-model {tiny} {tmp_path / 'out'}" in str(refused.exception)
