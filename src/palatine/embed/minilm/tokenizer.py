"""WordPiece as the model was trained with: lower case, no accents, pieces of a fixed vocabulary.

The ids are those of the reference implementation, also for its oddities: control characters
vanish, every Chinese character stands alone, and `[SEP]` in a text is the separator itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from unicodedata import category, normalize

MAX_TOKENS = 256
"""The model reads so many tokens, the two at the ends included; what follows is not read."""

_MAX_WORD_CHARS = 100
_MAX_KNOWN, _MAX_KNOWN_CHARS = 10_000, 40

_WORD = re.compile(r"[^ \t\n\r\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_SPECIAL = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_ASCII_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_ASCII_TOKEN = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")
_CHINESE = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f"
    "\U0002b740-\U0002b81f\U0002b920-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f])"
)


class WordPiece:
    """Texts to ids. Several threads may use it at once."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {token: number for number, token in enumerate(vocabulary)}
        self._first, self._last, self._unknown = (
            self._ids[token] for token in ("[CLS]", "[SEP]", "[UNK]")
        )
        self._known: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str, *, max_tokens: int = MAX_TOKENS) -> list[int]:
        """The ids of a text between `[CLS]` and `[SEP]`, at most `max_tokens` (2 or more)."""
        ids = [self._first]
        known = self._known
        for match in _WORD.finditer(text):
            word = match[0]
            pieces = known.get(word)
            ids += self._read(word) if pieces is None else pieces
            if len(ids) >= max_tokens:
                del ids[max_tokens - 1 :]
                break
        ids.append(self._last)
        return ids

    def _read(self, word: str) -> tuple[int, ...]:
        """The ids of what stands between two blanks; remembered while there is room."""
        pieces = tuple(self._pieces(word))
        if len(word) <= _MAX_KNOWN_CHARS:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[word] = pieces
        return pieces

    def _pieces(self, word: str) -> Iterator[int]:
        for number, part in enumerate(_SPECIAL.split(word)):
            if number % 2:
                yield self._ids[part]
            else:
                for token in _tokens(part):
                    yield from self._cut(token)

    def _cut(self, token: str) -> list[int]:
        """The longest pieces from the left; one unknown when any rest is in no vocabulary."""
        if len(token) > _MAX_WORD_CHARS:
            return [self._unknown]
        ids, start, mark = [], 0, ""
        while start < len(token):
            for end in range(len(token), start, -1):
                found = self._ids.get(mark + token[start:end])
                if found is not None:
                    break
            else:
                return [self._unknown]
            ids.append(found)
            start, mark = end, "##"
        return ids


def _tokens(part: str) -> Iterator[str]:
    """Normalised words and single punctuation marks."""
    if part.isascii():
        yield from _ASCII_TOKEN.findall(_ASCII_CONTROL.sub("", part).lower())
        return
    clean = "".join(char for char in part if char != "\ufffd" and category(char) not in _CONTROL)
    whole = normalize("NFD", _CHINESE.sub(r" \1 ", clean))
    bare = "".join(char for char in whole if category(char) != "Mn")
    # Each character by itself: `str.lower` would see a final sigma.
    lower = "".join(map(str.lower, bare))
    word = ""
    for char in lower:
        if char == " " or char in _ASCII_MARKS or category(char)[0] == "P":
            if word:
                yield word
            word = ""
            if char != " ":
                yield char
        else:
            word += char
    if word:
        yield word


_CONTROL = frozenset(("Cc", "Cf", "Co", "Cs"))  # not Cn: what is unassigned is kept
_ASCII_MARKS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
