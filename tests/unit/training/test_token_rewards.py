"""Token rewards against an independent computation in float64, and against the loss that DPO trains with."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from charter.training import models
from charter.training.token_rewards import TokenAnswer, TokenPair, TokenRequest, select_pairs
from charter.training.token_worker import (
    attribute,
    build_token_report,
    diverge,
    encode_answers,
    encode_pairs,
    load_for_inference,
    token_divergence,
    token_rewards,
)
from tests.support.tiny_model import make_tiny_model
from tests.support.training_build import BETA, build_random, stir, whole_batch
from tests.support.training_data import pairs


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("other"), seed=1)


def request(model: Path, reference: Path, base: Path, n: int = 12) -> TokenRequest:
    rows = pairs(n)
    made = [TokenPair(r["prompt"], r["chosen"], r["rejected"], "training", "theft", r["p_chosen"]) for r in rows]  # type: ignore[arg-type]
    made += [TokenPair(r["prompt"], r["chosen"], r["rejected"], "held-out") for r in pairs(4, seed=1)]  # type: ignore[arg-type]
    return TokenRequest(
        model=str(model),
        reference=str(reference),
        base=str(base),
        names=("dpo", "sft", "base"),
        identities=(model.name, reference.name, base.name),
        beta=BETA,
        max_length=256,
        pairs=made,
        answers=[TokenAnswer(pair.prompt, pair.chosen) for pair in made[:5]],
        drawn_from={"training": 40, "held-out": 7},
    )


def in_float64(model: Path, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities of the whole vocabulary where each token of the answer stands."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64).eval()
    with torch.no_grad():
        logits = loaded(torch.tensor([prompt + answer])).logits[0]
    return F.log_softmax(logits, -1)[len(prompt) - 1 : len(prompt) + len(answer) - 1]


def test_token_rewards_and_divergence_are_those_computed_in_float64(tiny: Path, other: Path) -> None:
    asked = request(other, tiny, tiny)
    _, rows = encode_pairs(asked, models.load_tokenizer(str(tiny)))
    model, reference = load_for_inference(str(other)), load_for_inference(str(tiny))
    for row in rows[:4]:
        prompt, answer = row["prompt_ids"], row["chosen_ids"]
        ours, theirs = in_float64(other, prompt, answer), in_float64(tiny, prompt, answer)
        exact = [BETA * float(ours[i, t] - theirs[i, t]) for i, t in enumerate(answer)]
        assert token_rewards(model, reference, prompt, answer, BETA) == pytest.approx(exact, abs=1e-6)
        assert max(map(abs, exact)) > 1e-3
        kl = (ours.exp() * (ours - theirs)).sum(-1).tolist()
        assert token_divergence(model, reference, prompt, answer) == pytest.approx(kl, rel=1e-4, abs=1e-7)


def test_the_tokens_of_a_pair_add_up_to_the_margin_that_dpo_trains_on(tiny: Path, tmp_path: Path) -> None:
    trainer, rows = build_random(tiny, tmp_path, 1, 1.0, sft_weight=0.0, beta=10.0)
    stir(trainer.model)
    loss = trainer.compute_loss(trainer.model, whole_batch(trainer)).item()  # -log sigmoid of the margin
    row, reference = rows.kept[0], load_for_inference(str(tiny))
    chosen, rejected = (
        sum(token_rewards(trainer.model.eval(), reference, row["prompt_ids"], row[side], beta=10.0))
        for side in ("chosen_ids", "rejected_ids")
    )
    assert abs(chosen - rejected) > 0.1
    assert -F.logsigmoid(torch.tensor(chosen - rejected)).item() == pytest.approx(loss, abs=2e-4)


def test_a_model_does_not_diverge_from_itself(tiny: Path, other: Path) -> None:
    model = load_for_inference(str(tiny))
    answers = encode_answers(request(tiny, tiny, tiny), models.load_tokenizer(str(tiny)))
    assert len(answers) == 5
    same = diverge(model, load_for_inference(str(tiny)), answers, "sft")
    assert same is not None and (same.value, same.low, same.high, same.n) == (0.0, 0.0, 0.0, 5)
    moved = diverge(model, load_for_inference(str(other)), answers, "base")
    assert moved is not None and 0 < moved.low <= moved.value <= moved.high
    assert diverge(model, model, [], "sft") is None


def test_what_is_shown_is_chosen_by_margin_and_at_random_and_says_so() -> None:
    made = [TokenPair([], "a", "b")] * 8 + [TokenPair([], "a", "b", "held-out")] * 3
    margins = [0.1, -0.5, 0.9, 0.3, 0.2, 0.8, -0.1, 0.4, 9.0, 9.0, 9.0]
    chosen = select_pairs(made, margins, {"training": 50, "held-out": 7})
    assert [place for place, _ in chosen] == [2, 5, 1, 6, 0, 3, 8, 9]
    assert [how.partition(" of ")[0] for _, how in chosen[:6]] == [
        *["largest margin"] * 2,
        *["smallest margin"] * 2,
        *["drawn at random from 8 training pairs, themselves drawn from 50"] * 2,
    ]
    assert chosen[7][1] == "held-out request, drawn at random from 7 that both models answered differently"
    assert select_pairs(made[:1], margins[:1], {"training": 1, "held-out": 0}) == [
        (0, "largest margin of 1 training pairs")
    ]


@pytest.mark.parametrize("text", ["You ride 隐私 🙂 away.\n", "<script>alert(1)</script>"])
def test_tokens_as_text_are_the_answer_and_lose_no_reward(tiny: Path, text: str) -> None:
    tokenizer = models.load_tokenizer(str(tiny))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    rewards = [0.01 * (i + 1) for i in range(len(ids))]
    found = attribute(tokenizer, ids, rewards)
    assert "".join(found.tokens) == text
    assert all("\ufffd" not in token for token in found.tokens)
    assert sum(found.rewards) == pytest.approx(found.total) == pytest.approx(sum(rewards))
    short = attribute(tokenizer, ids, rewards, shown=3)
    assert (short.count, short.total) == (len(ids), found.total)
    assert len(short.tokens) <= 3


def test_a_look_shows_pairs_their_margins_and_how_far_the_model_moved(tiny: Path, other: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", seed=2)
    heat = build_token_report(request(other, tiny, base))
    assert (heat.model, heat.reference, heat.scored, len(heat.pairs)) == ("dpo", "sft", 12, 8)
    margins = [pair.chosen.total - pair.rejected.total for pair in heat.pairs[:6]]
    assert margins[0] == max(margins) and margins[2] == min(margins)
    assert [found.name for found in heat.divergence] == ["sft", "base"]
    shown = heat.pairs[0]
    assert "".join(shown.chosen.tokens).endswith(".<|end|>")  # the end of the turn has its part in the reward
    assert (shown.kind, shown.source, heat.pairs[-1].source) == ("theft", "training", "held-out")
    assert [found.name for found in build_token_report(request(other, tiny, tiny)).divergence] == [
        "sft"
    ]  # the same model
