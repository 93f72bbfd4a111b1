"""Train or test: decided by the words of the prompt alone.

So no prompt stands on both sides, and rows that are added later move none of those that were there. Prompts of nearly
the same words are other prompts: `prompts.near_duplicates` leaves all but one of them out before anything is made.
"""

import hashlib

from charter.core.messages import Messages
from charter.data.conversations import gist

_SALT = "split\0"  # another hash than the one that divides prompts between SFT and DPO: else all of one were test


def prompt_group(prompt: Messages) -> int:
    """A number of 64 bits, the same for conversations of the same words, whatever their case and spacing."""
    digest = hashlib.sha256((_SALT + gist(prompt)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def in_test(prompt: Messages, share: float) -> bool:
    """Whether a prompt belongs to the test side; `share` of all prompts do, in the long run."""
    return prompt_group(prompt) < share * 2**64
