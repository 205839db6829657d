"""Text: its bytes, its names and keys, its chunks, and what full text sees of it.

Full text is SQLite's FTS5 with the tokenizer `porter unicode61 remove_diacritics 2`: letters and
digits make words, everything else separates them. It cannot find words in scripts without
blanks, so these are cut into overlapping pairs of characters, in what is indexed and in what is
asked alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from hashlib import sha256
from operator import add
from unicodedata import normalize

from palatine.errors import InputError

_STOP_WORDS = (
    "a about above after again against all also am an and any are as at be because been before"
    " being below between both but by can could did do does doing down during each few for from"
    " further had has have having he her here hers herself him himself his how i if in into is it"
    " its itself just me more most my myself no nor not of off on once only or other our ours out"
    " over own same she should so some such than that the their theirs them themselves then there"
    " these they this those through to too under until up very was we were what when where which"
    " while who whom why will with would you your yours yourself"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words that say nothing about what is asked."""

# Han, kana, Hangul and Thai with its marks; their punctuation and digits stay outside.
_UNSPACED = (
    r"\u1100-\u11ff\u2f00-\u2fd5\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c"
    r"\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u318e\u31a0-\u31bf\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\uff66-\uffdc"
    r"\U0001aff0-\U0001b16f\U00020000-\U0003fffd\u0e01-\u0e3a\u0e40-\u0e4e"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_RUN_MARKS = re.compile(r"[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u3099\u309a]")
# What SQLite refuses; and emoji and currencies that unicode61, older than they, takes for letters.
_BLANKED = re.compile(r"[\x00\ud800-\udfff\u20ba-\u20cf\U0001f000-\U0001faff]")

# Spellings of one letter that unicode61 tells apart; the soft hyphen, which it takes for a blank.
_SPELT = {"\u00df": "ss", "\u1e9e": "SS", "\u0153": "oe", "\u0152": "OE", "\u00e6": "ae"}
_SPELT |= {"\u00c6": "AE", "\u0451": "\u0435", "\u0401": "\u0415", "\u00ad": ""}
_SPELT |= {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
_SPELT_OTHERWISE = re.compile(f"[{''.join(_SPELT)}]")

# What unicode61 takes for a word: letters, digits, private use; some marks, but not at its start.
_PRIVATE = r"\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_WORD = re.compile(rf"[\w{_PRIVATE}][\w{_PRIVATE}\u0300-\u0331]*")  # "_" is blanked before
_QUOTED = re.compile(r'"([^"]*)"')
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e", '"'))
_SEPARATORS = str.maketrans(dict.fromkeys("/\\|:;,=+&()[]{}<>\u2013\u2014\u2026", " "))
_NEGATION = re.compile(r"\W*\w+n['\u2019]t\W*", re.IGNORECASE)
_CLITIC = re.compile(
    r"(?<=\w)['\u2019](?:s|re|ve|ll|d|m)\b|\b(?:[cdjlmnst]|qu)['\u2019](?=\w)", re.IGNORECASE
)


def encode(text: str) -> bytes:
    """The bytes of any text, lone surrogates included; `decode` gives it back.

    Raises:
        InputError: it is no text.
    """
    if not isinstance(text, str):
        raise InputError(f"the text must be a string, not {type(text).__name__}; decode it first")
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """The text of which `encode` made these bytes.

    Raises:
        InputError: the bytes are no UTF-8.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise InputError(f"the bytes are not UTF-8: {error.reason} at {error.start}") from None


def digest(data: bytes) -> bytes:
    """SHA-256 of the bytes, 32 bytes."""
    return sha256(data).digest()


_UNNAMEABLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")


def clean_name(value: object, what: str, *, max_chars: int = 200) -> str:
    """A name as it is kept: NFC, runs of white space as one blank, trimmed.

    Args:
        value: the name as given.
        what: what it names, for the message.
        max_chars: the most code points it may have when clean.

    Raises:
        InputError: it is no text, empty, too long, or has control characters or lone surrogates.
    """
    name = clean_label(value, what, max_chars=max_chars)
    if not name:
        raise InputError(f"{what} is empty; give a name")
    return name


def clean_label(value: object, what: str, *, max_chars: int = 200) -> str:
    """Like `clean_name`, but may be empty."""
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, not {type(value).__name__}")
    if bad := _UNNAMEABLE.search(value):
        raise InputError(
            f"{what} {value!r:.80} holds U+{ord(bad[0]):04X} at position {bad.start()},"
            " which cannot be part of a name; leave it out"
        )
    name = " ".join(normalize("NFC", value).split())
    if len(name) > max_chars:
        raise InputError(
            f"{what} {name!r:.80} has {len(name)} characters; at most {max_chars} are possible"
        )
    return name


def safe_label(value: str, *, max_chars: int = 200) -> str:
    """Like `clean_label` for what may not fail: what cannot be part of a name is left out."""
    name = clean_label(_UNNAMEABLE.sub("", value), "the name", max_chars=len(value) * 3)
    return name[:max_chars].rstrip()


def clean_count(value: int, what: str, *, most: int) -> int:
    """A whole number from 1 on.

    Raises:
        InputError: it is none, or greater than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InputError(f"{what} {value!r} cannot be used; give a whole number from 1 to {most}")
    return value


def clean_share(value: float, what: str) -> float:
    """A number from 0 to 1.

    Raises:
        InputError: it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise InputError(f"{what} {value!r} cannot be used; give a number from 0 to 1")
    return float(value)


def fold(name: str) -> str:
    """The key of an entity's name: what all spellings of it in case and blanks share."""
    return " ".join(normalize("NFC", normalize("NFC", name).casefold()).split())


def fold_predicate(name: str) -> str:
    """The key of a predicate: like `fold`, and blanks and `-` are `_`."""
    return fold(name).replace(" ", "_").replace("-", "_")


_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_SENTENCE_END = re.compile(
    r"[.!?][\"')\]\u2019\u201d]{0,3}(?=\s|[\u3005-\U0003fffd])"
    r"|[\u3002\uff01\uff1f][\u201d\u2019\u300d\u300f\uff09]{0,3}"
)
_INK = re.compile(r"\S")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n]*)", re.MULTILINE)


def chunks(text: str, *, max_chars: int = 900) -> list[tuple[int, int]]:
    """Spans of the text, in order, that hold all of it but white space between them.

    A span ends at the last blank line within reach, else at a line end, a sentence end, a blank,
    each in the second half of what is possible if there is any; else anywhere. A fenced block
    that fits into one span is not cut.

    Args:
        text: any text; of blanks only, it has no spans.
        max_chars: the most code points in one span.

    Returns:
        (first code point, one past the last) for each.
    """
    if max_chars < 1:
        raise InputError(f"a chunk cannot have {max_chars} characters; give 1 or more")
    spans = []
    end = len(text.rstrip())
    shape = _without_fenced(text, max_chars)
    ink = _INK.search(text)
    while ink and ink.start() < end:
        start = ink.start()
        stop = end
        if end - start > max_chars:
            high = start + max_chars
            stop = _last_cut(shape, start + max_chars // 2, high)
            stop = stop or _last_cut(shape, start, high) or high
        spans.append((start, start + len(text[start:stop].rstrip())))
        ink = _INK.search(text, stop)
    return spans


def _last_cut(text: str, low: int, high: int) -> int:
    """The best place to cut in `(low, high]`; 0 when there is none."""
    cut = 0
    for match in _BLANK_LINE.finditer(text, low + 1, high + 2):
        cut = match.start()
    if not cut:
        cut = max(0, text.rfind("\n", low + 1, high + 1))
    if not cut:
        for match in _SENTENCE_END.finditer(text, low, high + 1):
            if low < match.end() <= high:
                cut = match.end()
    if not cut:
        window = text[low + 1 : high + 1]
        word = "" if window[-1].isspace() else window.rsplit(maxsplit=1)[-1]
        cut = high - len(word) if len(word) < len(window) else 0
    return cut


def _without_fenced(text: str, max_chars: int) -> str:
    """The text with each fenced block that fits into a chunk made one long word."""
    parts = []
    done = 0
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            if fence[1][0] == "~" or "`" not in fence[2]:
                opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2].strip():
            first, last = opening.start(1), fence.end(1)
            if last - first <= max_chars:
                parts += [text[done:first], "x" * (last - first)]
                done = last
            opening = None
    return "".join([*parts, text[done:]]) if parts else text


def indexed_text(text: str, start: int, end: int, *, said: str, speaker: str, source: str) -> str:
    """What full text sees of the chunk `text[start:end]`: its `passage`, made searchable."""
    return indexed(passage(text, start, end, said=said, speaker=speaker, source=source))


def indexed(text: str) -> str:
    """The text as full text keeps it: `searchable`, then the characters that are found in pairs.

    Each of them once and alone, so that a question of one single character finds them.
    """
    found = searchable(text)
    alone = sorted(set("".join(_RUN.findall(found))))
    return f"{found}\n{' '.join(alone)}" if alone else found


def passage(text: str, start: int, end: int, *, said: str, speaker: str, source: str) -> str:
    """The chunk `text[start:end]` as a reader of it alone needs it: its origin, then the span.

    Args:
        text: the drawer's text.
        start: first code point of the chunk.
        end: one past the last.
        said: when it was said; may be empty, as the next two. Of a date in ISO form the day is
            seen as it is written and as people ask for it: 2023-05-08, 8 May 2023.
        speaker: who said it.
        source: the file or transcript it is from.
    """
    origin = ", ".join(
        part for given in (_DATE.sub(_spoken, said), speaker, source) if (part := _one_line(given))
    )
    return f"{origin}\n{text[start:end]}" if origin else text[start:end]


_DATE = re.compile(r"((\d{4})-(0[1-9]|1[0-2])(?:-(\d\d))?)(?:T\S*)?", re.ASCII)
_MONTHS = "January February March April May June July August September October November December"


def _spoken(date: re.Match[str]) -> str:
    """The date without its time of day, and once more in words."""
    written, year, month, day = date.groups()
    in_words = f"{_MONTHS.split()[int(month) - 1]} {year}"
    return f"{written}, {int(day)} {in_words}" if day else f"{written}, {in_words}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def searchable(text: str) -> str:
    """The text as full text can find it; once more changes nothing.

    Runs of Han, kana, Hangul and Thai become overlapping pairs of characters between blanks (a
    single character stays), their forms folded (NFKC) and their combining marks dropped, which
    the tokenizer would take for blanks. NUL, lone surrogates, emoji and currency signs that the
    tokenizer would take for letters become blanks. Of two spellings of a letter that the tokenizer
    would tell apart one is taken: NFC, `ss`, `oe`, `ae`, the Russian e without dots, letters and
    signs of usual width; soft hyphens go. All else is unchanged.
    """
    return _RUN.sub(_spaced_pairs, _one_spelling(_BLANKED.sub(" ", text)))


def _one_spelling(text: str) -> str:
    return normalize("NFC", _SPELT_OTHERWISE.sub(lambda found: _SPELT[found[0]], text))


def _spaced_pairs(run: re.Match[str]) -> str:
    text, start, end = run.string, run.start(), run.end()
    before = "" if start == 0 or text[start - 1].isspace() else " "
    after = "" if end == len(text) or text[end].isspace() else " "
    return f"{before}{' '.join(_pairs(run[0]))}{after}"


def _pairs(run: str) -> list[str]:
    bare = _RUN_MARKS.sub("", normalize("NFKC", run))
    return list(map(add, bare, bare[1:])) if len(bare) > 1 else [bare]


def phrases(query: str) -> list[str]:
    """The search terms of a question, in order and once each, as phrases for full text.

    A phrase is words of letters and digits joined by blanks: one for each word, and one for
    what `_ - . ' @ #` and the like join (`PAYMENT_KEY-7F3`) or double quotes hold; brackets and
    `/ : ; , | = + &` separate. Scripts without
    blanks give pairs of characters, as `searchable` does. English stop words are left out unless
    nothing else is there; quoted ones stay. Nothing in a query is an operator.
    """
    kept: dict[str, str] = {}
    stopped: dict[str, str] = {}
    for phrase, stop in _terms(_one_spelling(query)):
        if phrase:
            (stopped if stop else kept).setdefault(phrase.casefold(), phrase)
    return list((kept or stopped).values())


def _terms(query: str) -> Iterator[tuple[str, bool]]:
    """The phrases of a query, each with whether it is a stop word."""
    for index, part in enumerate(_QUOTED.split(query.translate(_QUOTES))):
        if index % 2:
            yield _words(searchable(part)), False
            continue
        for token in part.translate(_SEPARATORS).split():
            yield from _token_terms(token)


def _token_terms(token: str) -> Iterator[tuple[str, bool]]:
    done = 0
    for run in _RUN.finditer(token):
        yield _spaced_term(token[done : run.start()])
        for pair in _pairs(run[0]):
            yield _words(pair), False
        done = run.end()
    yield _spaced_term(token[done:])


def _spaced_term(token: str) -> tuple[str, bool]:
    if _NEGATION.fullmatch(token):
        return _words(token), True
    phrase = _words(_CLITIC.sub(" ", token))
    return phrase, phrase.casefold() in STOP_WORDS


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.replace("_", " ")))


def near_names(name: str, among: Iterable[str], *, limit: int = 5) -> tuple[str, ...]:
    """Those of the names that may be meant by a misspelt or partial one, best first.

    Names that share a word with it, or contain it, come before those that are spelt alike.
    """
    key = fold(name)
    words = _telling_words(key)
    matcher = SequenceMatcher(b=key, autojunk=False)
    found = []
    for other in dict.fromkeys(among):
        other_key = fold(other)
        related = bool(key) and (key in other_key or bool(words & _telling_words(other_key)))
        matcher.set_seq1(other_key)
        if related or (matcher.real_quick_ratio() >= 0.7 and matcher.quick_ratio() >= 0.7):
            ratio = matcher.ratio()
            if related or ratio >= 0.7:
                found.append((not related, -ratio, other))
    return tuple(other for _, _, other in sorted(found)[:limit])


def _telling_words(key: str) -> set[str]:
    return set(_words(key).split()) - STOP_WORDS


_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff]|\r(?!\n)"
)


def plain(text: str) -> str:
    r"""The text for terminals and logs: nothing in it can move the cursor or turn the direction.

    Control characters become their pictures, as U+241B for ESC; those without one, bidi
    characters and lone surrogates an escape such as `\u202e`; line ends and tabs stay.
    """
    return _CONTROL.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"
