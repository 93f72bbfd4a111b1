"""Log-probabilities whose tokens a server names by the pieces of its vocabulary instead of by their text.

Byte-level BPE (GPT-2, Llama 3, Qwen) writes a space as ``Ġ``, SentencePiece (Llama 2, Mistral, Gemma) as ``▁``, and a
single byte as ``<0x41>``.
"""

import re
from collections.abc import Sequence
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PIECE = re.compile(r"[ĠĊĉ▁\ufffd]|<0x[0-9A-Fa-f]{2}>|token_id:|bytes:|(?:^|\n)(?:\n|$)")
"""A sign that tokens are pieces, ids or bytes; searched in all of them, one a line."""
_ROUNDING = 1e-3
TOKEN_ID = "token_id:"
"""What vLLM writes before a token's id when it is started with --return-tokens-as-token-ids."""


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones are themselves, all others follow from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + number): byte for number, byte in enumerate(others)}


_ALPHABET = _byte_level_alphabet()


def positions_in_text(positions: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Positions of `choice_probabilities` with every token as its text; unchanged if they are texts already."""
    names = [str(t["token"]) for position in positions for t in (position, *(position.get("top_logprobs") or ()))]
    joined = "\n".join(names)
    if not _PIECE.search(joined):
        return positions
    is_byte_level = any(sign in joined for sign in "ĠĊĉ")

    def with_text(token: dict[str, Any]) -> dict[str, Any]:
        return {**token, "token": _text_of(token, is_byte_level)}

    converted = [
        {**with_text(position), "top_logprobs": [with_text(token) for token in position.get("top_logprobs") or ()]}
        for position in positions
    ]
    # vLLM writes the text's bytes next to the id of the token that was drawn, but not of the others: one readable token
    # among unreadable ones would get all of the probability.
    return positions if names_ids(converted) else converted


def names_ids(positions: Sequence[dict[str, Any]]) -> bool:
    """Whether any token is named by its id."""
    return any(
        str(token["token"]).startswith(TOKEN_ID)
        for position in positions
        for token in (position, *(position.get("top_logprobs") or ()))
    )


def names_disagree(positions: Sequence[dict[str, Any]]) -> bool:
    """Whether a drawn token is missing among its alternatives although it is more probable than one of them.

    Then drawn tokens and alternatives are named in two ways, and the alternatives' probabilities cannot be used.
    """
    for position in positions:
        top = position.get("top_logprobs") or ()
        if not top or position["token"] in {token["token"] for token in top}:
            continue
        if position["logprob"] > min(token["logprob"] for token in top) + _ROUNDING:
            return True  # else it was drawn from beyond the list
    return False


def _text_of(token: dict[str, Any], is_byte_level: bool) -> str:
    piece, raw = str(token["token"]), token.get("bytes")
    if isinstance(raw, list) and raw:
        text = bytes(raw).decode("utf-8", "replace")
        if "\ufffd" not in text and text != piece:
            piece = text  # else the server wrote the bytes of the piece
    if byte := _BYTE.fullmatch(piece):
        return bytes([int(byte[1], 16)]).decode("utf-8", "replace")
    if is_byte_level and piece and all(character in _ALPHABET for character in piece):
        return bytes(_ALPHABET[character] for character in piece).decode("utf-8", "replace")
    return piece.replace("▁", " ")
