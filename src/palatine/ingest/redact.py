"""Secrets in texts: found by the rules of detect-secrets, masked on the way in.

Its patterns are kept by people who do nothing else; ours are the few shapes that its line-wise
rules leave out: whole private keys, and values in lines of environment files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector

_OWN = {
    "Private Key": re.compile(
        r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY[A-Z ]*)-----.*?(?:-----END (?P=kind)-----|\Z)",
        re.DOTALL,
    ),
    "Secret in a setting": re.compile(
        r"""^[ \t]*(?:export[ \t]+)?
        [\w.-]*(?:secret|token|passwd|password|api_?key|access_?key)[\w.-]*[ \t]*=[ \t]*
        (?P<secret>"[^"\n]{6,}"|'[^'\n]{6,}'|[^\s"'<${(]{8,})[ \t]*$""",
        re.VERBOSE | re.IGNORECASE | re.MULTILINE,
    ),
    "Password in a URL": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:(?P<secret>[^\s/@]{3,})@"),
    "API key": re.compile(r"\b(?:sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|AIza[\w-]{35})\b"),
}
# Not secrets: addresses. And what is matched whole by ours.
_NOT_ASKED = {"Public IP (ipv4)", "Private Key", "Basic Auth Credentials"}
_MARK = "[{} masked]"


@cache
def _rules() -> tuple[tuple[str, re.Pattern[str]], ...]:
    plugins: dict[str, Any] = get_mapping_from_secret_type_to_class()
    theirs = [
        (kind, pattern)
        for kind, plugin in sorted(plugins.items())
        if issubclass(plugin, RegexBasedDetector) and kind not in _NOT_ASKED
        for pattern in plugin.denylist
    ]
    return (*_OWN.items(), *theirs)


def find(text: str) -> Iterator[tuple[str, int, int]]:
    """Where secrets stand: (kind, first code point, one past the last), in the rules' order."""
    for kind, pattern in _rules():
        for match in pattern.finditer(text):
            start, end = match.span("secret" if "secret" in pattern.groupindex else 0)
            if start < end:
                yield kind, start, end


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with a mark in the place of each secret, and how many of each kind there were."""
    found = sorted(find(text), key=lambda place: (place[1], -place[2]))
    counts: Counter[str] = Counter()
    parts = []
    done = 0
    for kind, start, end in found:
        if start >= done:
            parts += [text[done:start], _MARK.format(kind)]
            counts[kind] += 1
        done = max(done, end)
    return "".join((*parts, text[done:])), counts
