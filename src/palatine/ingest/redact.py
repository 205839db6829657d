"""Secrets in texts: found by the rules of detect-secrets, masked on the way in.

Its patterns are kept by people who do nothing else; ours are the few shapes that its line-wise
rules leave out: whole private keys, and values in lines of environment files.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from palatine import config

_NAMED = r"(?:secret|token|passwd|password|api_?key|access_?key)"
_OWN = {
    "Private Key": re.compile(
        r"""-----BEGIN[ ](?P<kind>[A-Z ]*PRIVATE[ ]KEY[A-Z ]*)-----
        (?:.{0,20000}?-----END[ ](?P=kind)-----      # whole, or without its end: lines of base64
        |(?:\s|\\[nr])*(?:[A-Za-z0-9+/=]{24,}(?:\s|\\[nr])*)+(?:[A-Za-z0-9+/=]+\Z)?)""",
        re.DOTALL | re.VERBOSE,
    ),
    "Secret in a setting": re.compile(
        rf"""(?:^[ \t]*(?:export[ \t]+|-[ \t]+)?|[{{,][ \t]*)["']?
        [\w.-]{{0,60}}{_NAMED}[\w.-]{{0,60}}["']?
        [ \t]*(?:=|:(?=[ \t]))[ \t]*
        (?!["']?[a-z][a-z0-9+.-]*://)                # an address is none
        (?P<secret>"[^"\n]{{6,}}"|'[^'\n]{{6,}}'
        |(?=\S{{0,200}}[a-z])(?=\S{{0,200}}\d)[^\s"'<${{(,;]{{8,}}(?=[,;]?[ \t]*$))
        [ \t]*(?:[,;}}]|$)""",
        re.VERBOSE | re.IGNORECASE | re.MULTILINE,
    ),
    "Secret in a variable": re.compile(
        r"""(?:^|(?<=\s))[A-Z][A-Z0-9_]{0,60}(?:SECRET|TOKEN|PASSWD|PASSWORD|API_?KEY|ACCESS_?KEY)
        [A-Z0-9_]{0,60}=(?!["']?[a-z][a-z0-9+.-]*://)
        (?P<secret>"[^"\n]{6,}"|'[^'\n]{6,}'|(?=\S{0,200}[A-Za-z])[^\s"'<${(]{8,})""",
        re.VERBOSE | re.MULTILINE,
    ),
    "Password in a URL": re.compile(
        r"\b[a-z][a-z0-9+.-]{0,60}://[^\s/:@]{0,300}:(?P<secret>[^\s/@]{3,2000})@"
    ),
    "Bearer token": re.compile(r"\b[Bb]earer[ ]+(?P<secret>(?=\S{0,200}\d)[\w.~+/-]{16,}=*)"),
    "API key": re.compile(
        r"""\b(?:sk-(?:ant-|proj-)?(?=[\w-]{0,99}\d)(?=[\w-]{0,99}[A-Z])[\w-]{20,}|AIza[\w-]{35}
        |github_pat_\w{22,}|gh[pousr]_[A-Za-z0-9]{36,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}
        |[rs]k_live_[A-Za-z0-9]{16,}|eyJ[\w-]{17,300}\.eyJ[\w-]+\.[\w-]+)""",
        re.VERBOSE | re.ASCII,
    ),
}
# Not secrets: addresses. And what ours match whole, or in bounded time.
_NOT_ASKED = {"Public IP (ipv4)", "Private Key", "Basic Auth Credentials"}
_NOT_ASKED |= {"JSON Web Token", "OpenAI Token"}
# What their rules also match, and is none: a word without digits, a time before a digest.
_NONE = {
    "Artifactory Credentials": re.compile(r"\D*"),
    "Telegram Bot Token": re.compile(r"\W*\d+:[0-9a-f]+\W*"),
}
_MARK = "[{} masked]"
_SETTING = re.compile(
    r"""(?i)([\w.-]*(?:secret|token|passwd|password|api_?key|access_?key)[\w.-]*\ *=\ *)
    (?:"[^"]{6,}"|'[^']{6,}'|[^\s"'<${(\[]{8,})""",
    re.VERBOSE,
)
_CUT_WORD = re.compile(r"(?<!\S)(?<!from )[^\s…]{12,}…")
# The slow rules look only at lines that hold one of these marks, in one view of the text, without
# which they find nothing: that is ten times faster. A run is twenty letters, digits, `_` or `-`.
_RUNS = bytes(120 if re.match(rb"[\w-]", bytes([byte])) else byte for byte in range(256))
_LONG = ("runs", "x" * 20)
_WHERE = {
    "Secret in a setting": ("lower", "secret", "token", "passw", "key"),
    "Secret in a variable": ("exact", "SECRET", "TOKEN", "PASSW", "KEY"),
    "Password in a URL": ("exact", "://"),
    "Bearer token": ("lower", "bearer"),
    "API key": _LONG,
    "AWS Access Key": ("lower", "aws", "a3t", "abia", "acca", "akia", "asia"),
    "Artifactory Credentials": ("exact", "AKC", "AP"),
    "Cloudant Credentials": _LONG,
    "Discord Bot Token": _LONG,
    "IBM COS HMAC Credentials": _LONG,
    "IBM Cloud IAM Key": _LONG,
    "Mailchimp Access Key": _LONG,
    "NPM tokens": ("exact", "_authToken"),
    "Slack Token": ("lower", "xox", "hooks.slack"),
    "SoftLayer Credentials": _LONG,
    "Stripe Access Key": ("exact", "k_live_"),
    "Telegram Bot Token": _LONG,
}


@cache
def _rules() -> tuple[tuple[str, re.Pattern[str]], ...]:
    theirs = [(k, re.compile(p, flags)) for k, p, flags in _theirs() if k not in _NOT_ASKED]
    return (*_OWN.items(), *theirs)


def _theirs() -> Sequence[tuple[str, str, int]]:
    """Their rules as (kind, pattern, flags), from the user's cache as long as they are the same.

    To load them takes as long as a prompt may wait for a hook: an HTTP client comes with them.
    """
    spec = find_spec("detect_secrets")
    assert spec is not None
    assert spec.origin is not None
    plugins = Path(spec.origin).with_name("plugins")
    of = f"{plugins} {plugins.stat().st_mtime_ns}"
    cached = Path(config.cache_folder(), "secret-rules.json")
    with suppress(OSError, ValueError, LookupError, TypeError):
        found = json.loads(cached.read_bytes())
        if found["of"] == of:
            return [
                (str(kind), str(pattern), int(flags)) for kind, pattern, flags in found["rules"]
            ]
    rules = _loaded()
    with suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = cached.with_name(f"{cached.name}.{os.getpid()}")
        new.write_text(json.dumps({"of": of, "rules": rules}), "utf-8")
        new.replace(cached)
    return rules


def _loaded() -> Sequence[tuple[str, str, int]]:
    from detect_secrets.core.plugins.util import (  # noqa: PLC0415 (see `_theirs`)
        get_mapping_from_secret_type_to_class,
    )
    from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415 (see `_theirs`)

    plugins: dict[str, Any] = get_mapping_from_secret_type_to_class()
    return [
        (kind, pattern.pattern, pattern.flags)
        for kind, plugin in sorted(plugins.items())
        if issubclass(plugin, RegexBasedDetector)
        for pattern in plugin.denylist
    ]


def find(text: str) -> Iterator[tuple[str, int, int]]:
    """Where secrets stand: (kind, first code point, one past the last), in the rules' order."""
    letters = text.encode("latin-1", "replace")  # one byte for each code point
    seen = {"exact": letters, "lower": letters.lower(), "runs": letters.translate(_RUNS)}
    lines = {
        where: sorted(
            {line for mark in where[1:] for line in _lines(seen[where[0]], mark.encode())}
        )
        for where in set(_WHERE.values())
    }
    for kind, pattern in _rules():
        where, none = _WHERE.get(kind), _NONE.get(kind)
        for first, last in lines[where] if where else [(0, len(text))]:
            for match in pattern.finditer(text, first, last):
                start, end = match.span("secret" if "secret" in pattern.groupindex else 0)
                if start < end and not (none and none.fullmatch(match[0])):
                    yield kind, start, end


def _lines(letters: bytes, mark: bytes) -> Iterator[tuple[int, int]]:
    """The lines that hold the mark, each with the line end before it: rules look at that, too."""
    end = 0
    while (at := letters.find(mark, end)) >= 0:
        end = letters.find(b"\n", at) + 1 or len(letters)
        yield max(letters.rfind(b"\n", 0, at), 0), end


def places(text: str) -> list[tuple[str, int, int]]:
    """The same in the text's order; those that overlap as one, of the first one's kind."""
    merged: list[tuple[str, int, int]] = []
    for kind, start, end in sorted(find(text), key=lambda place: (place[1], -place[2])):
        if merged and start < merged[-1][2]:
            kind, start, last = merged.pop()
            end = max(last, end)
        merged.append((kind, start, end))
    return merged


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with a mark in the place of each secret, and how many of each kind there were."""
    counts: Counter[str] = Counter()
    parts = []
    done = 0
    for kind, start, end in places(text):
        parts += [text[done:start], _MARK.format(kind)]
        counts[kind] += 1
        done = end
    return "".join((*parts, text[done:])), counts


def mask_line(line: str) -> str:
    """The same for a text that was made one line, and perhaps cut, which an ellipsis shows.

    There the rules for lines and whole keys find nothing, so more is masked: values that a
    sentence has beside such a name, and a long word that was cut.
    """
    return mask(_CUT_WORD.sub("…", _SETTING.sub(r"\1[masked]", line)))[0]
