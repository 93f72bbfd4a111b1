"""Thoughts that a model writes before or between its answer: they are separated from the answer, and never part of it.

A server with a reasoning parser returns them in a field; any other leaves them in the text, between tags. The forms are
those of DeepSeek R1, Qwen 3 and most others (``<think>``), Magistral (``[THINK]``), Kimi (``◁think▷``), Seed-OSS
(``<seed:think>``) and gpt-oss (the harmony channels).
"""

import re

_NAMES = r"(?:seed:)?(?:think(?:ing)?|thoughts?)"
_TAG = re.compile(
    rf"(?<!`)(?:<\s*(?P<closes>/?)\s*{_NAMES}\s*>|\[(?P<closes2>/?){_NAMES}\]|◁(?P<closes3>/?){_NAMES}▷)", re.IGNORECASE
)
"""An opening or closing tag; one after a backtick is quoted by an answer about such tags."""
_ANALYSIS = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b.*?(?:<\|end\|>(?:<\|start\|>assistant)?|\Z|"
    r"(?=<\|channel\|>final))",
    re.DOTALL,
)
_FINAL = re.compile(r"<\|channel\|>final[^<]*<\|message\|>|<\|(?:return|end)\|>\s*\Z")
_SIGN = re.compile(rf"[/<\[◁:]\s*{_NAMES}\s*[>\]▷]|<\|channel\|>", re.IGNORECASE)


def split_thoughts(text: str) -> tuple[str, str]:
    """The answer without thoughts, and the thoughts; the text is returned as it is if it has none.

    Any number of blocks is removed. What comes before a closing tag without an opening one is thoughts too: templates
    such as DeepSeek R1's write the opening tag into the prompt. So is what follows an opening tag that is never closed,
    because the answer was cut off, unless the tag stands within a line of the answer, which is then about the tag.
    Tags within a block of code, or after a backtick, are part of the answer.
    """
    if not _SIGN.search(text):  # almost all texts; fast
        return text, ""
    thoughts = list[str]()
    if "<|channel|>" in text:
        thoughts += [match[0] for match in _ANALYSIS.finditer(text)]
        text = _FINAL.sub("", _ANALYSIS.sub("", text))
    answer, begun, place, quoted = "", None, 0, 0
    for tag in _TAG.finditer(text):
        is_opening = not any(tag.group("closes", "closes2", "closes3"))
        in_code = begun is None and (answer + text[place : tag.start()]).count("```") % 2
        if in_code and (is_opening or quoted):  # a block of code that contains the tags
            quoted += 1 if is_opening else -1
        elif is_opening:
            if begun is None:  # else the thoughts mention the tag
                answer += text[place : tag.start()]
                begun, place = tag, tag.end()
        else:
            thoughts.append(text[place : tag.start()] if begun else answer + text[place : tag.start()])
            answer = answer if begun else ""
            begun, place = None, tag.end()
    if begun is None:
        answer += text[place:]
    elif answer.rpartition("\n")[2].strip():
        answer += text[begun.start() :]
    else:
        thoughts.append(text[place:])
    thinking = "\n\n".join(each for each in map(str.strip, thoughts) if each)
    if not thinking and not answer.strip():
        thinking = text.strip()  # tags alone: the model began to think, or thought nothing
    return (text, "") if answer == text and not thinking else (answer.strip(), thinking)


def thoughts_end(text: str) -> int:
    """Where the last closing tag of thoughts ends; 0 without one."""
    ends = [tag.end() for tag in _TAG.finditer(text) if any(tag.group("closes", "closes2", "closes3"))]
    return ends[-1] if ends else 0
