"""Train the sandbox model from scratch: ``python -m tools.sandbox.train OUT``.

Lessons are drawn by the step's number, so that a run that is stopped and started again sees the same
lessons in the same order.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from charter.core.files import atomic_path
from tools.sandbox.encode import LATE_WEIGHT, Row, encode_lesson
from tools.sandbox.induction import draw_repetition, start_with_induction
from tools.sandbox.lessons import Phase, draw_lesson
from tools.sandbox.scenes import Dice
from tools.sandbox.tokenizer import save_tokenizer, train_tokenizer

log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    """How the sandbox model is trained.

    Attributes:
        steps: optimiser steps.
        tokens: tokens per step, at least.
        rate: peak learning rate of the matrices (Muon).
        rate_other: peak learning rate of embeddings and norms (AdamW).
        seed: of the weights and of every lesson.
        repeating_first: steps of nothing but rows of random words that are said again.
        repeating: the share of tokens in such rows after that, and from `judging_from` on.
        judging_from: the step from which more lessons are about judging, which builds on critique.
        finishing: the last steps, at a rate that falls from a third of its peak; most of their lessons are critique.
        every: steps between checkpoints and tables of accuracy.
        autocast: bfloat16 arithmetic where the processor has it; weights stay float32.
        compile: fuse the small operations (takes a C++ compiler and two minutes, saves a quarter of the time).
    """

    steps: int = 4100
    tokens: int = 5120
    rate: float = 0.006
    rate_other: float = 0.003
    seed: int = 0
    repeating_first: int = 80
    repeating: tuple[float, float] = (0.15, 0.05)
    judging_from: int = 1000
    finishing: int = 500
    every: int = 200
    autocast: bool = True
    compile: bool = True

    @property
    def finishing_from(self) -> int:
        """The first step of the last phase; a short training has a short one."""
        return self.steps - min(self.finishing, self.steps // 5)


def train_sandbox(out: Path, recipe: Recipe) -> Path:
    """Train from `out`'s checkpoint if there is one, else from the start; returns the model's folder."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)  # a sharp attention is full of them, and each costs a hundred cycles
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    tokenizer = _tokenizer(out, recipe.seed)
    model = LlamaForCausalLM(llama_config(tokenizer))
    start_with_induction(model)
    model.to(device)
    optimizers = _optimizers(model, recipe)
    if recipe.compile:
        model.model.compile(dynamic=True)
    first = _resume(out, model, optimizers)
    log.info("%s parameters, from step %d", f"{model.num_parameters():,}", first)
    started, seen, losses = time.monotonic(), 0, list[float]()
    for step in range(first, recipe.steps):
        rows = _rows_of_step(step, recipe, tokenizer)
        losses.append(_step(model, optimizers, rows, _schedule(step, recipe), recipe.autocast))
        seen += sum(len(row.ids) for row in rows)
        if (step + 1) % 20 == 0:
            speed = seen / (time.monotonic() - started)
            log.info("step %d loss %.4f %.0f tokens/s", step + 1, sum(losses[-20:]) / len(losses[-20:]), speed)
        if (step + 1) % recipe.every == 0 or step + 1 == recipe.steps:
            log.info("%s", json.dumps({"step": step + 1, **decision_accuracy(model, tokenizer, recipe.seed)}))
            _checkpoint(out, model, optimizers, step + 1)
    return save_model(model, tokenizer, out / "model")


def decision_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, tokens: int = 60_000
) -> dict[str, float]:
    """Share of right decisions, per kind of decision, on held-out requests under fresh principles.

    The opening word of an answer is right when it declines and should, or does not and should not.
    """
    declining = {tokenizer.encode(text)[0] for text in ("I", "Sorry", "No")}
    right, asked = defaultdict[str, int](int), defaultdict[str, int](int)
    rows = list(_rows(Dice(f"evaluation:{seed}", held_out=True), tokenizer, tokens, "judging"))
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for part in _parts(rows):
            hidden = _hidden(model, part)
            where = [(i, t) for i, row in enumerate(part) for t in row.targets if t[3] or t[2] == 1.0]
            logits = model.lm_head(torch.stack([hidden[i, t[0]] for i, t in where]))
            for (_, (_, target, _, name)), guess in zip(where, logits.argmax(-1).tolist(), strict=True):
                asked[name or "text"] += 1
                same_side = name == "opening" and (guess in declining) == (target in declining)
                right[name or "text"] += guess == target or same_side
    return {name: round(right[name] / asked[name], 4) for name in sorted(asked)}


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Write the model as a Hugging Face folder in float16, which halves its size."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad)
    state = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    copy = LlamaForCausalLM(model.config).to(torch.float16)
    copy.load_state_dict(state)
    copy.generation_config = model.generation_config
    copy.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


def llama_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The shape of the sandbox model, of 2.6 million parameters."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _tokenizer(out: Path, seed: int) -> PreTrainedTokenizerFast:
    folder = out / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        rng = Dice(f"tokenizer:{seed}")
        texts = [turn.content for _ in range(4000) for branch in draw_lesson(rng) for turn in branch]
        held_out = Dice(f"tokenizer:{seed}", held_out=True)  # words only: each also occurs elsewhere in the world
        texts += [turn.content for _ in range(400) for branch in draw_lesson(held_out) for turn in branch]
        save_tokenizer(train_tokenizer(texts), folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[Optimizer] = [
        Muon(matrices, lr=recipe.rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=recipe.rate_other, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _schedule(step: int, recipe: Recipe) -> float:
    """Up over 100 steps, level, and down over the half before the last phase, which has a slope of its own."""
    steps = recipe.finishing_from
    if step >= steps:
        return max(0.02, (recipe.steps - step) / (3 * (recipe.steps - steps)))
    down = (steps - step) / (0.5 * steps)
    return min(1.0, (step + 1) / min(100, steps), max(0.02, down))


def _phase(step: int, recipe: Recipe) -> Phase:
    if step >= recipe.finishing_from:
        return "finishing"
    return "judging" if step >= recipe.judging_from else "first"


def _rows_of_step(step: int, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    rng, phase = Dice(f"lessons:{recipe.seed}:{step}"), _phase(step, recipe)
    first = step < recipe.repeating_first
    tokens = round(recipe.tokens * (1.0 if first else recipe.repeating[phase != "first"]))
    words = range(len(tokenizer.all_special_ids), len(tokenizer))
    rows = list[Row]()
    while sum(len(row.ids) for row in rows) < tokens:
        rows.append(draw_repetition(rng, words))
    return rows if first else rows + list(_rows(rng, tokenizer, recipe.tokens - tokens, phase))


def _rows(rng: Dice, tokenizer: PreTrainedTokenizerFast, tokens: int, phase: Phase) -> Iterator[Row]:
    late = LATE_WEIGHT if phase == "finishing" else 1.0
    while tokens > 0:
        rows = encode_lesson(draw_lesson(rng, phase), tokenizer, late)
        tokens -= sum(len(row.ids) for row in rows)
        yield from rows


def _parts(rows: list[Row], tokens: int = 4096) -> Iterator[list[Row]]:
    """Rows of one shape and like length together, `tokens` at most with their padding."""
    part: list[Row] = []
    for row in sorted(rows, key=lambda r: (_is_tree(r), len(r.ids))):
        if part and ((len(part) + 1) * len(row.ids) > tokens or _is_tree(row) != _is_tree(part[0])):
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _is_tree(row: Row) -> bool:
    return row.branches[-1] > 1


def _step(model: LlamaForCausalLM, optimizers: list[Optimizer], rows: list[Row], scale: float, autocast: bool) -> float:
    total = sum(target[2] for row in rows for target in row.targets)
    loss_sum = 0.0
    for part in _parts(rows):
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=autocast):
            hidden = _hidden(model, part)
            where = [(i, t) for i, row in enumerate(part) for t in row.targets]
            picked = hidden[[i for i, _ in where], [t[0] for _, t in where]]
            logits = model.lm_head(picked)
        goals = torch.tensor([t[1] for _, t in where], device=model.device)
        weights = torch.tensor([t[2] for _, t in where], device=model.device)
        loss = (torch.nn.functional.cross_entropy(logits.float(), goals, reduction="none") * weights).sum() / total
        loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        optimizer.step()
        optimizer.zero_grad()
    return loss_sum


def _hidden(model: LlamaForCausalLM, part: list[Row]) -> Tensor:
    length = max(len(row.ids) for row in part)
    pad = int(model.config.pad_token_id or 0)

    def padded(lists: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([values + [fill] * (length - len(values)) for values in lists], device=model.device)

    mask = None  # plain rows are causal, and what pads them comes after all they hold
    if _is_tree(part[0]):
        branches = padded([row.branches for row in part], -1)
        same = (branches[:, None, :] == branches[:, :, None]) | (branches[:, None, :] == 0)
        mask = (same & torch.ones(length, length, dtype=torch.bool, device=model.device).tril())[:, None]
    output = model.model(
        input_ids=padded([row.ids for row in part], pad),
        position_ids=padded([row.positions for row in part], 0),
        attention_mask=mask,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state
    return hidden


def _checkpoint(out: Path, model: LlamaForCausalLM, optimizers: list[Optimizer], step: int) -> None:
    state = {"step": step, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    with atomic_path(out / "checkpoint.pt") as unfinished:
        torch.save(state, unfinished)


def _resume(out: Path, model: LlamaForCausalLM, optimizers: list[Optimizer]) -> int:
    if not (out / "checkpoint.pt").is_file():
        return 0
    state = torch.load(out / "checkpoint.pt", map_location=model.device, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def main(
    out: Annotated[Path, typer.Argument(help="the folder for checkpoints and, at the end, OUT/model")],
    steps: Annotated[int, typer.Option(min=1, help="optimiser steps")] = Recipe().steps,
    seed: Annotated[int, typer.Option(help="of the weights and of every lesson")] = 0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="needs a C++ compiler")] = True,
) -> None:
    """Train the model from scratch. The same command again continues a run that was stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model = train_sandbox(out, Recipe(steps=steps, seed=seed, compile=compiled))
    typer.echo(f"Trained: {model}\nCheck what it can do: python -m tools.sandbox.check {model}")


if __name__ == "__main__":
    typer.run(main)
