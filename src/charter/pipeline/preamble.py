"""What models say before a revision, such as "Sure! Here is the revised answer:", told from answers that begin alike.

A text is read sentence by sentence, a colon or the end of a line ending one too. What announces a revision goes, and
courtesies before it; a courtesy alone is the answer's own, and so is "Here is how bees make honey:".
"""

import re

_YES = r"(?:sure(?: thing)?|certainly|of course|ok(?:ay)?|absolutely|understood|you(?:['\u2019]| a)re right)"
_SORRY = r"(?:(?:i )?(?:\w+ )?apologi[sz]e|(?:my )?(?:\w+ )?apologies|(?:i(?:['\u2019]| a)m )?(?:\w+ )?sorry|thank you)"
_DECLINES = r"(?:cannot|can['\u2019]t|won['\u2019]t|unable)"
_REVISED = r"(?:revised|rewritten|reworded|new|updated|improved|safer|corrected|modified|alternative)"
_ANSWER = r"(?:answer|response|reply)s?"
_VERSION = rf"(?:version|text)s?(?: of (?:my|the|this|that) (?:[\w-]+ ){{0,2}}?{_ANSWER})?"  # and of no letter or song
_MORE = r"(?:,| \(| [\u2013\u2014-]| (?:to|for|in|that|which|with(?:out)?|as|based|following|avoiding|respecting)\b)"
_THEIRS = r"\byour (?!question|request|message|prompt|query)"

_SENTENCE = re.compile(
    r"(?:\#+ *)?(?P<mark>[*_]*)(?P<said>[^\n:.!*_]+)"
    r"(?P<end>(?P=mark)[:.!]+|[:.!]+(?P=mark)|(?P=mark)(?=\n|$))\s*"
)
_COURTESY = re.compile(rf"(?!.*\b{_DECLINES}\b)(?:{_YES}|(?:{_YES},? )?{_SORRY}\b.*)", re.IGNORECASE)
_ANNOUNCEMENT = re.compile(
    rf"(?!.*{_THEIRS})(?:{_YES}[,;]? )?(?:here(?:['\u2019]s| is| are)|(?:below|the following|this) (?:is|are)) "
    r"(?!how\b|why\b|what\b|where\b|when\b|who\b)(?:[\w'\u2019-]+,? ){0,6}?"
    rf"(?:{_REVISED}(?:,? [\w-]+){{0,6}}? (?:{_ANSWER}|{_VERSION})|revisions?|rewrite)(?:{_MORE}.*)?",
    re.IGNORECASE,
)
_TITLE = re.compile(rf"(?:the |my )?{_REVISED} (?:{_ANSWER}|version)\s*", re.IGNORECASE)


def strip_preamble(text: str) -> str:
    """A revision without what stands before it; empty where nothing else was said."""
    text = text.strip()
    begins = place = 0
    while sentence := _SENTENCE.match(text, place):
        said, place = sentence["said"].strip(), sentence.end()
        titled = _TITLE.fullmatch(said) and not sentence["end"].strip("*_").endswith((".", "!"))
        if titled or _ANNOUNCEMENT.fullmatch(said):
            begins = place
        elif not _COURTESY.fullmatch(said):
            break
    return text[begins:]
