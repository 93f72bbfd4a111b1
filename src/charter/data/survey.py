"""What must be known of all rows of a source before any can be used: repeats, ids, and which are drawn.

It is held as numbers: 24 bytes per row while the source is read, 29 at most from then on, and some 75 for the moment in
which they are sorted, whatever the prompts say. Conversations are told apart by 64 bits of a hash; among a million,
two that differ are taken for one with a probability of 3e-8.
"""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charter.core.messages import Messages
from charter.data.candidates import Candidate
from charter.data.conversations import gist

_MALFORMED = -1


def digest(text: str) -> int:
    """64 bits of a text's hash."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def content_digest(messages: Messages) -> int:
    """64 bits of the hash of a conversation's roles and words."""
    return digest(json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False))


def digest_of(candidate: Candidate) -> int:
    """64 bits of the hash of what a row holds, or of what is wrong with it."""
    wrong = f"{candidate.reason}\0{candidate.detail}"
    return content_digest(candidate.messages) if candidate.messages else digest(wrong)


@dataclass
class Survey:
    """What becomes of each row of a source, by its place from 0.

    Attributes:
        digests: of each row's content.
        times: the how-manieth row of this content it is, from 1.
        first: the place of the first row with the same words, its own if it is the first; -1 where a row cannot be
            used.
        use_given: whether rows keep the ids of their id column: all have one, and no two the same.
        lucks: by which prompts are drawn, the lowest first, where rows keep their ids.
        drawn: whether a row is used.
        reasons: why rows cannot be used, counted.
        example: what is wrong with the first of them.
        repeats: what is wrong with each near duplicate, by its place.
    """

    digests: NDArray[np.uint64]
    times: NDArray[np.uint32]
    first: NDArray[np.int64]
    use_given: bool
    lucks: NDArray[np.uint64]
    drawn: NDArray[np.bool_]
    reasons: Counter[str]
    example: str = ""
    repeats: Mapping[int, str] = field(default_factory=dict)

    def content_id(self, place: int) -> str:
        """The id of a row by what it holds: 16 hexadecimal digits, and which time it comes from the second on."""
        times = int(self.times[place])
        return f"{int(self.digests[place]):016x}" + (f"-{times}" if times > 1 else "")

    def leave_out(self, repeats: Mapping[int, str]) -> None:
        """Do without near duplicates."""
        self.repeats = repeats
        self.drawn[list(repeats)] = False

    def draw(self, n: int, seed: int) -> None:
        """Use `n` of the prompts, or all if there are no more."""
        places = np.flatnonzero(self.drawn)
        if self.use_given:
            lucks = self.lucks[places]
        else:
            numbers = (digest(f"{seed}\0{self.content_id(place)}") for place in places)
            lucks = np.fromiter(numbers, np.uint64, len(places))
        self.drawn[places[np.argsort(lucks, kind="stable")[n:]]] = False


def survey(candidates: Iterable[Candidate], seed: int) -> Survey:
    """Look at all rows; every prompt is drawn at first."""
    digests, gists, lucks = array("Q"), array("Q"), array("Q")
    malformed, all_given = array("Q"), True
    reasons, example = Counter[str](), ""
    for place, candidate in enumerate(candidates):
        digests.append(digest_of(candidate))
        gists.append(digest(gist(candidate.messages)))
        all_given = all_given and candidate.given_id is not None
        if all_given:
            lucks.append(digest(f"{seed}\0{candidate.given_id}"))
        if candidate.reason:
            malformed.append(place)
            reasons[candidate.reason] += 1
            example = example or f"{candidate.where}: {candidate.detail}"
    given = np.array(lucks if all_given else [], np.uint64)
    first = _first(np.array(gists, np.uint64), np.array(malformed, np.int64))
    return Survey(
        digests=np.array(digests, np.uint64),
        times=_times(np.array(digests, np.uint64)),
        first=first,
        use_given=len(given) > 0 and len(np.unique(given)) == len(given),
        lucks=given,
        drawn=first == np.arange(len(first)),
        reasons=reasons,
        example=example,
    )


def _first(gists: NDArray[np.uint64], malformed: NDArray[np.int64]) -> NDArray[np.int64]:
    first = np.full(len(gists), _MALFORMED, np.int64)
    usable = np.delete(np.arange(len(gists)), malformed)
    _, firsts, which = np.unique(gists[usable], return_index=True, return_inverse=True)
    first[usable] = usable[firsts[which]]
    return first


def _times(digests: NDArray[np.uint64]) -> NDArray[np.uint32]:
    order = np.argsort(digests, kind="stable")
    among, places = digests[order], np.arange(len(digests))
    begins = np.ones(len(digests), np.bool_)
    begins[1:] = among[1:] != among[:-1]
    times = np.empty(len(digests), np.uint32)
    times[order] = places - np.maximum.accumulate(np.where(begins, places, 0)) + 1
    return times
