import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from charter.sandbox import MODEL
from tools.sandbox.induction import start_with_induction
from tools.sandbox.train import llama_config


def rank_of_repeated_words(model: LlamaForCausalLM, words: int) -> float:
    """The median rank, among all words, of the right one where a row of random words is said again."""
    once = torch.randint(words, (16, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(torch.cat([once, once], dim=1)).logits[:, 40:-1]
    right = logits.gather(2, once[:, 1:, None])
    return float((logits > right).sum(-1).float().median())


def test_the_start_repeats_words_that_it_never_met() -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODEL)
    for seed in range(3):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(llama_config(tokenizer))
        assert rank_of_repeated_words(model, len(tokenizer)) > 500
        start_with_induction(model)
        assert rank_of_repeated_words(model, len(tokenizer)) < 30
