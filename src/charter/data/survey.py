"""What must be known of all rows of a source before the first can be used: repeats, ids, and which are drawn.

It is kept as numbers: 24 bytes per row while the source is read, at most 29 afterwards, and about 75 for the moment in
which they are sorted, however long the prompts are. Conversations are distinguished by 64 bits of a hash: among a
million, the probability that two different ones are mistaken for one is 3e-8.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charter.data.candidates import Candidate
from charter.data.conversations import content_digest, normalized_text, text_digest
from charter.data.duplicates import near_duplicates

_UNUSABLE = -1


def candidate_digest(candidate: Candidate) -> int:
    """64 bits of the hash of a row's conversation, or of what is wrong with it."""
    if candidate.messages:
        return content_digest(candidate.messages)
    return text_digest(f"{candidate.reason}\0{candidate.detail}")


@dataclass
class Survey:
    """What becomes of each row of a source, by its place from 0.

    Attributes:
        digests: of each row's content.
        occurrence: 1 for the first row with this content, 2 for the second, and so on.
        first: the place of the first row with the same words, its own place if it is the first; -1 where a row cannot
            be used.
        use_given: whether rows keep the ids of their id column: each has one, and all are different.
        sort_keys: random numbers by which prompts are drawn, the lowest first; empty unless `use_given`.
        drawn: whether a row is used.
        reasons: why rows cannot be used, counted.
        example: what is wrong with the first of them.
        repeats: what each near duplicate repeats, by its place.
    """

    digests: NDArray[np.uint64]
    occurrence: NDArray[np.uint32]
    first: NDArray[np.int64]
    use_given: bool
    sort_keys: NDArray[np.uint64]
    drawn: NDArray[np.bool_]
    reasons: Counter[str]
    example: str = ""
    repeats: Mapping[int, str] = field(default_factory=dict)

    def content_id(self, place: int) -> str:
        """The id of a row by its content: 16 hexadecimal digits, and its occurrence from the second on."""
        occurrence = int(self.occurrence[place])
        return f"{int(self.digests[place]):016x}" + (f"-{occurrence}" if occurrence > 1 else "")

    def draw(self, n: int, seed: int) -> None:
        """Use `n` of the prompts, or all if there are no more."""
        places = np.flatnonzero(self.drawn)
        if self.use_given:
            keys = self.sort_keys[places]
        else:
            numbers = (text_digest(f"{seed}\0{self.content_id(place)}") for place in places)
            keys = np.fromiter(numbers, np.uint64, len(places))
        self.drawn[places[np.argsort(keys, kind="stable")[n:]]] = False


def survey_candidates(candidates: Iterable[Candidate], seed: int, near_duplicate_share: float | None = None) -> Survey:
    """Look at all rows once; every prompt is drawn that repeats no earlier one.

    Args:
        candidates: the rows of the source.
        seed: of the sort keys.
        near_duplicate_share: the least fraction of three-word sequences in common that makes a repetition. The words of
            all prompts are in memory then; None looks for exact repetitions only.
    """
    digests, text_digests, sort_keys = array("Q"), array("Q"), array("Q")
    unusable, all_given = array("Q"), True
    reasons, example = Counter[str](), ""
    texts, given_ids = list[str](), list[str | None]()  # filled for near duplicates only
    for place, candidate in enumerate(candidates):
        text = normalized_text(candidate.messages)
        digests.append(candidate_digest(candidate))
        text_digests.append(text_digest(text))
        all_given = all_given and candidate.given_id is not None
        if all_given:
            sort_keys.append(text_digest(f"{seed}\0{candidate.given_id}"))
        if candidate.reason:
            unusable.append(place)
            reasons[candidate.reason] += 1
            example = example or f"{candidate.where}: {candidate.detail}"
        if near_duplicate_share is not None:
            texts.append(text)
            given_ids.append(candidate.given_id)

    count = len(digests)
    places = np.arange(count)
    usable = np.delete(places, np.array(unusable, np.int64))
    first = np.full(count, _UNUSABLE, np.int64)
    _, firsts, which = np.unique(np.array(text_digests, np.uint64)[usable], return_index=True, return_inverse=True)
    first[usable] = usable[firsts[which]]

    # In a stable sort, rows of the same content are neighbours in their order: the occurrence is the distance from
    # the first of them.
    content = np.array(digests, np.uint64)
    order = np.argsort(content, kind="stable")
    begins = np.ones(count, np.bool_)
    begins[1:] = content[order][1:] != content[order][:-1]
    occurrence = np.empty(count, np.uint32)
    occurrence[order] = places - np.maximum.accumulate(np.where(begins, places, 0)) + 1

    given = np.array(sort_keys if all_given else [], np.uint64)
    survey = Survey(
        digests=content,
        occurrence=occurrence,
        first=first,
        use_given=len(given) > 0 and len(np.unique(given)) == len(given),
        sort_keys=given,
        drawn=first == places,
        reasons=reasons,
        example=example,
    )
    if near_duplicate_share is not None:
        originals = np.flatnonzero(survey.drawn).tolist()
        ids = given_ids if survey.use_given else [survey.content_id(place) for place in range(count)]
        survey.repeats = {
            originals[one.number]: f"{one.overlap:.2f} of it is in '{ids[originals[one.of]]}'"
            for one in near_duplicates([texts[place] for place in originals], near_duplicate_share)
        }
        survey.drawn[list(survey.repeats)] = False
    return survey
