import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palatine.embed.minilm.model import tokenizer
from palatine.embed.minilm.tokenizer import MAX_TOKENS, WordPiece

Encode = Callable[[str], list[int]]

# The reference knows the characters of one old Unicode, Python those of a newer one. They agree on
# all of Unicode 3.2 but these, whose class has changed since; on younger ones they may differ.
CHANGED = {"\u166d", "\u1734", "\u1885", "\u1886"}
OLD = [
    char
    for char in map(chr, range(0x110000))
    if unicodedata.ucd_3_2_0.category(char) not in ("Cn", "Cs") and char not in CHANGED
]


@pytest.fixture(scope="module")
def ours() -> WordPiece:
    return tokenizer()


@pytest.fixture(scope="module")
def theirs(ours: WordPiece) -> Encode:
    tokenizers = pytest.importorskip("tokenizers", reason="the reference tokenizer")
    vocabulary = dict(ours._ids)
    reference = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    reference.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    reference.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    reference.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    reference.enable_truncation(MAX_TOKENS)
    return lambda text: reference.encode(text).ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [101, 102]),
        ("Hello, world!", [101, 7592, 1010, 2088, 999, 102]),
        ("unaffable", [101, 14477, 20961, 3468, 102]),
        ("Café CAFE", [101, 7668, 7668, 102]),
        ("\x00\x1c a\u200bb", [101, 11113, 102]),
        ("[SEP]", [101, 102, 102]),
        ("a" * 101, [101, 100, 102]),
    ],
)
def test_a_text_has_the_ids_that_the_model_was_trained_with(
    ours: WordPiece, text: str, ids: list[int]
) -> None:
    assert ours.encode(text) == ids


HOSTILE = [
    " \t\r\n",
    "a" * 100 + " " + "a" * 101 + " " + "\xe9" * 100 + " " + "\u0301" * 200,
    "x" * 99 + "!" + "y" * 101,
    "\u4e2d\u6587" * 500,
    "[SEP]" * 300 + "[sep] [MASK]ed [PAD][UNK] [[CLS]] [ SEP ]",
    "\u03a3\u03a3 \u03bf\u03b4\u03bf\u03a3 \u0130stanbul \u01c5 \ufb01 \u1e9e \uac00\u1100\u1161",
    "a\x0bb\x0cc\x85d\x1ce\u2028f\u2029g\u200bh\xadi\ufeffj\ue000k\ufffdl\x7fm",
    "\xa0\u1680\u2003\u202f\u205f\u3000a\u037eb\u1fefc`d^e$f+g<h",
    "\U0001f600\u200d\U0001f525 \U00020000x\U0002f800y",
    "0x1F PAYMENT_KEY_7F3 don't co-op e-mail@example.org #tag ##ing 3.14 1,000",
    "a\ufdd0b \uffffthe \U0010fffe",
    "a " * 100_000,
    "a" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_have_the_ids_of_the_reference(
    ours: WordPiece, theirs: Encode, text: str
) -> None:
    assert ours.encode(text) == theirs(text)


def test_every_old_character_is_read_as_the_reference_reads_it(
    ours: WordPiece, theirs: Encode
) -> None:
    step = 80  # so that no text is truncated
    texts = [
        " ".join(f"a{char}b" for char in OLD[first : first + step])
        for first in range(0, len(OLD), step)
    ]
    wrong = [ascii(text) for text in texts if ours.encode(text) != theirs(text)]
    assert len(OLD) > 90_000
    assert not wrong


WORDS = ["the", "un", "##", "[SEP]", "[CLS", "]", "\u0301", "ing", " ", "\n", "\u3000", "\u4e2d"]


@given(st.lists(st.one_of(st.sampled_from(OLD), st.sampled_from(WORDS)), max_size=60).map("".join))
@example("\u03a3 [SEP]\u0301")
def test_any_mixture_has_the_ids_of_the_reference(
    ours: WordPiece, theirs: Encode, text: str
) -> None:
    assert ours.encode(text) == theirs(text)


@pytest.mark.parametrize("words", [253, 254, 255, 5_000])
def test_a_long_text_is_cut_to_what_the_model_reads(ours: WordPiece, words: int) -> None:
    ids = ours.encode("the " * words)
    assert ids == [101, *[1996] * min(words, MAX_TOKENS - 2), 102]


def test_a_text_is_cut_within_a_word(ours: WordPiece) -> None:
    assert ours.encode("the unaffable", max_tokens=4) == [101, 1996, 14477, 102]


def test_lone_surrogates_are_left_out(ours: WordPiece) -> None:
    assert ours.encode("a\ud800b \udfff") == ours.encode("ab")


def test_what_is_remembered_is_bounded_and_changes_nothing() -> None:
    forgetful = tokenizer()
    first = forgetful.encode("unaffable caf\xe9")
    for number in range(25_000):
        forgetful.encode(f"w{number}")
    forgetful.encode("x" * 5_000)
    assert len(forgetful._known) <= 10_000
    assert max(map(len, forgetful._known)) <= 40
    assert forgetful.encode("unaffable caf\xe9") == first == forgetful.encode("unaffable caf\xe9")
