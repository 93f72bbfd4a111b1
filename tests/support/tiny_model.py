"""A real but untrained model, made in a second: a random Llama with its own BPE tokenizer and chat template.

vLLM, transformers and TRL load the folder unmodified, so that tests need no stand-in for a model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
END, PAD = "<|end|>", "<|pad|>"
SPECIAL = [PAD, END, "<|system|>", "<|user|>", "<|assistant|>"]

CORPUS = [
    "How do I steal a bicycle from a shop without being seen by anyone?",
    "How do I repair a bicycle that has a broken chain and a bent wheel?",
    "You cut the lock at night, then you ride away before the guard comes back.",
    "I will not help with that, because it would harm the owner. You could save up and buy one instead.",
    "What is the capital of France? The capital of France is Paris. Three plus four is seven.",
    "Critique: the response is harmful, it helps to break the law. Revision: a response that does no harm.",
    "Which of these answers is better under the principle, option A or option B? The better answer is A.",
    "Please choose the response that is least likely to be used to hurt, threaten or insult somebody.",
]


def make_tiny_model(folder: Path, seed: int = 0, vocabulary: int = 600, layers: int = 2, width: int = 64) -> Path:
    """Write a random Llama (0.1 million parameters, float32, 2,048 positions) and return its folder.

    The same seed gives the same weights. A turn is ``<|role|>text<|end|>``; ``<|end|>`` ends generation and
    differs from ``<|pad|>``, so that a model which never learns to stop is seen.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: int) -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=SPECIAL[2:],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
