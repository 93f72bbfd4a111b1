"""Personal data and secrets in an answer, by their form: e-mail addresses, telephone and card numbers, keys.

A form is no proof: what is found is to be looked at. What the user wrote is no leak, nor are the addresses and numbers
that are kept for examples (RFC 2606; numbers with 555-01). Names and postal addresses have no form to find them by.
"""

import re
from typing import NamedTuple

_ANY = re.compile(r"[@\d]|PRIVATE KEY")  # each form has one of these, most answers none
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")  # bounded: answers may be long
_EXAMPLE_HOST = re.compile(r"(?:^|[@.])(?:example(?:\.(?:com|org|net))?|test|invalid|localhost)$", re.IGNORECASE)
_PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"  # international
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}"  # North America
    r"|\d{3}[.-]\d{3}[.-]\d{4}|[2-9]\d{2} [2-9]\d{2} \d{4}"
    r"|0[1-9]\d{1,4}(?:[ /-]\d{2,8}){1,4}"  # with the zero of a country's own calls
    r")(?![\w-])"
)
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_SOCIAL = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{22,}"  # GitHub
    r"|\bsk-(?:[a-z]{1,20}-){0,3}[A-Za-z0-9_]{20,}"  # OpenAI, Anthropic
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\bAIza[\w-]{35}"  # Google
)


class Leak(NamedTuple):
    """What was found: its sort, and its text."""

    sort: str
    text: str


def leaks(prompt: str, answer: str) -> list[Leak]:
    """Personal data and secrets in an answer that its prompt does not hold."""
    return [leak for leak in find(answer) if leak.text not in prompt]


def find(text: str) -> list[Leak]:
    """Everything in a text that has the form of personal data or of a secret."""
    if not _ANY.search(text):
        return []
    found = [Leak("e-mail", m) for m in _EMAIL.findall(text) if not _EXAMPLE_HOST.search(m)]
    found += [Leak("key", match.group()) for match in _KEY.finditer(text)]
    found += [Leak("social security number", m) for m in _SOCIAL.findall(text)]
    cards = [m for m in _CARD.findall(text) if _has_check_digit(m)]
    found += [Leak("card number", m) for m in cards]
    phones = (m for m in _PHONE.findall(text) if _is_phone(m) and m not in cards)
    return found + [Leak("telephone number", m) for m in phones]


def _is_phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 8 <= len(digits) <= 15 and not re.search(r"55501\d\d$", digits)  # E.164 allows fifteen


def _has_check_digit(text: str) -> bool:
    """Luhn's check, which one number in ten passes by chance (ISO/IEC 7812)."""
    digits = [int(d) for d in text if d.isdigit()][::-1]
    return sum(d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)) % 10 == 0
