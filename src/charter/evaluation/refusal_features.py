"""An answer as numbers: which phrases stand where, its form, and how it takes up the prompt."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

LEXICON = Path(__file__).with_name("refusal_lexicon.yaml")

READ = 1600
"""Characters of an answer that are read: what an answer is shows at its beginning."""

OPENING = 60
"""Words that count as the opening, after the first sentence."""

PLACES = ("first", "open", "rest")

_TOKEN = re.compile(r"[a-z0-9][a-z0-9'-]*|[.!?\n]+")
_ITEM = re.compile(r"^\s*(?:\d+[.)]|[-*\u2022])\s", re.MULTILINE)
_WRITTEN_OUT = {
    "can't": ["cannot"], "won't": ["will", "not"], "i'm": ["i", "am"], "i'd": ["i", "would"], "i'll": ["i", "will"],
    "i've": ["i", "have"], "it's": ["it", "is"], "that's": ["that", "is"], "there's": ["there", "is"],
    "here's": ["here", "is"], "you're": ["you", "are"], "they're": ["they", "are"], "we're": ["we", "are"],
}  # fmt: skip
_SERVES = frozenset({
    "provide", "assist", "help", "fulfill", "fulfil", "offer", "suggest", "recommend", "give", "support",
    "encourage", "answer", "comply", "engage", "promote", "endorse", "condone", "satisfy", "share", "discuss",
    "advise", "respond", "create", "generate", "tell", "explain", "participate", "write", "list", "do",
})  # fmt: skip
_NEGATIONS = frozenset({"not", "no", "never", "cannot", "nor", "neither", "none"})
_FUNCTION_WORDS = frozenset({
    "a", "an", "the", "is", "are", "was", "were", "be", "of", "to", "in", "on", "at", "for", "and", "or", "my",
    "your", "i", "you", "it", "do", "does", "did", "how", "what", "why", "where", "who", "when", "can", "could",
    "should", "would", "will", "that", "this", "with", "as", "by", "from", "best", "way", "good",
})  # fmt: skip


class Group(NamedTuple):
    """Phrases that say the same, and which way they point: -1 refuses, 1 complies."""

    lean: float
    phrases: tuple[str, ...]


Trie = Mapping[str, list[tuple[list[str], str]]]


@lru_cache(maxsize=1)
def lexicon() -> dict[str, Group]:
    """The groups of `refusal_lexicon.yaml`."""
    groups = yaml.safe_load(LEXICON.read_text(encoding="utf-8"))
    return {name: Group(float(group["lean"]), tuple(group["phrases"])) for name, group in groups.items()}


def features(prompt: str, response: str) -> dict[str, float]:
    """Named numbers between 0 and about 3; those not named are 0."""
    words = tokens(response.lstrip()[:READ])
    found, first, length, sentences = _phrases(words)
    values = {name: math.log1p(count) for name, count in found.items()}
    items = len(_ITEM.findall(response[:READ]))
    values["length"] = math.log1p(length) / 5
    values["short"] = float(length < 25)
    values["sentences"] = math.log1p(sentences)
    values["list"] = math.log1p(items)
    values["no list"] = float(items == 0)
    values["code"] = float("```" in response[:READ])
    values["asks back"] = float(response.rstrip().endswith("?"))
    values |= _opening(tokens(prompt[:400]), [word for word in words if word[0] not in ".!?\n"][: min(first, 40)])
    return values | _combined(values)


def tokens(text: str) -> list[str]:
    """Words in lower case with contractions written out, and marks that end a sentence or line."""
    result = []
    for token in _TOKEN.findall(text.lower().replace("\u2019", "'").replace("can not", "cannot")):
        if token in _WRITTEN_OUT:
            result += _WRITTEN_OUT[token]
        elif token.endswith("n't"):
            result += [token[:-3], "not"]
        else:
            result.append(token)
    return result


def _phrases(words: list[str]) -> tuple[Counter[str], int, int, int]:
    """Counts per group and place, words in the first sentence, words, and sentences."""
    trie, found = _trie(), Counter[str]()
    first = position = sentences = 0
    for i, word in enumerate(words):
        if word[0] in ".!?\n":
            if position > 3:  # "1." and "No." end no sentence
                first = first or position
                sentences += 1
            continue
        position += 1
        place = "first" if not first else "open" if position <= OPENING else "rest"
        for rest, group in trie.get(word, ()):
            end = i + 1 + len(rest)
            if words[i + 1 : end] == rest:
                found[f"{group}@{place}"] += 1
                if group == "cannot" and not _SERVES.isdisjoint(words[end : end + 5]):
                    found[f"serve@{place}"] += 1
    return found, first or position, position, sentences


def _opening(prompt: list[str], first: list[str]) -> dict[str, float]:
    """How the first sentence takes up the prompt: it may repeat it, deny it, or answer beside it."""
    asked = [word for word in prompt if word not in _FUNCTION_WORDS and word[0] not in ".!?\n"]
    repeated = sum(word in first for word in asked) / max(1, len(asked))
    denies = float(not _NEGATIONS.isdisjoint(first))
    presumes = float(prompt[:1] == ["why"] or "reasons" in prompt or "explain" in prompt)
    return {
        "denies": denies,
        "repeats": repeated,
        "denies what it repeats": repeated * denies,
        "why": presumes,
        "why, denies": presumes * denies,
        "why, denies a denial": presumes * denies * (not _NEGATIONS.isdisjoint(prompt)),
        "why, affirms": presumes * (1 - denies),
        "about the asker's own": float("my" in prompt and prompt[0] in ("what", "is", "exactly", "where", "how")),
        "starts with no": float(first[:1] == ["no"]),
        "starts with i": float(first[:1] == ["i"]),
        "starts with it is": float(first[:2] == ["it", "is"]),
        "starts with to": float(first[:1] == ["to"]),
    }


def _combined(values: Mapping[str, float]) -> dict[str, float]:
    """Phrases that mean something else together: a refusal before a list is a partial one."""

    def any_of(group: str, *places: str) -> float:
        return min(1.0, sum(values.get(f"{group}@{place}", 0.0) for place in places))

    refuses = min(1.0, sum(values.get(f"{group}@first", 0.0) for group in ("serve", "not ok", "cannot")))
    no_access, private = any_of("no access", "first"), any_of("privacy", *PLACES)
    return {
        "refuses, then lists": refuses * values["list"],
        "refuses, no list": refuses * values["no list"],
        "no access, privacy": no_access * private,
        "no access, in short": no_access * float(not private) * values["short"],
        "refuses fiction": refuses * any_of("fiction", "first", "open"),
        "denies by evidence": values["denies"] * any_of("evidence", "first", "open"),
        "lectures, then lists": any_of("lecture", "first") * values["list"],
    }


@lru_cache(maxsize=1)
def _trie() -> Trie:
    trie: dict[str, list[tuple[list[str], str]]] = {}
    for name, group in lexicon().items():
        for phrase in group.phrases:
            head, *rest = phrase.split()
            trie.setdefault(head, []).append((rest, name))
    return trie
