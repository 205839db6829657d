# ruff: noqa: RUF001 - these tests are about characters that look like others
import re
import subprocess
import sys
import unicodedata

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palatine.errors import InputError
from palatine.text import (
    STOP_WORDS,
    chunks,
    clean_label,
    clean_name,
    decode,
    digest,
    encode,
    fold,
    fold_predicate,
    indexed,
    indexed_text,
    near_names,
    phrases,
    plain,
    searchable,
)

LANGUAGES = {
    "German": "Die Straße ist gesperrt. Wir fahren über München.",
    "Russian": "Решение принято в марте. Ключ лежит в сейфе.",
    "French": "L'école est fermée. On a choisi GraphQL « pour de bon ».",
    "Chinese": "我们选择了PostgreSQL。数据库在北京！",
    "Japanese": "東京タワーへ行く。「GraphQLを選んだ。」と言った。",
    "Korean": "우리는 데이터베이스를 선택했다. 서울에서 만나요!",
    "Thai": "เราเลือกฐานข้อมูลใหม่ ที่กรุงเทพ",
    "Hindi": "हमने नया डेटाबेस चुना।",
    "decomposed": "Маи\u0306скии\u0306 \u2126mega",
    "emoji": "Deployed🤖 on Friday 👩‍👩‍👧 ok",
}

# Every kind of character, lone surrogates and NUL included, thick with what matters here.
anything = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(" \n\t\r.!?\"'`~_-。！「」京都カのกี่한1aZé\u0301\x00\ud800🤖"),
    )
)
wild = st.one_of(
    anything, st.lists(st.sampled_from([*LANGUAGES.values(), "\n\n", "```\n"])).map("".join)
)


def unspaced(text: str) -> str:
    return "".join(text.split())


# --- bytes


@given(anything)
@example("\ud83d\ude00 \udfff\x00")
def test_every_text_comes_back_from_its_bytes(text):
    assert decode(encode(text)) == text


def test_ten_megabytes_come_back_from_their_bytes():
    text = "".join(LANGUAGES.values()) * 25_000 + "\udc80"
    assert decode(encode(text)) == text


@pytest.mark.parametrize("given", [None, b"bytes", 7, ["text"]])
def test_only_text_can_be_encoded(given):
    with pytest.raises(InputError, match="must be a string"):
        encode(given)


def test_bytes_that_are_no_utf8_are_refused():
    with pytest.raises(InputError, match="not UTF-8"):
        decode(b"caf\xe9 au lait")


def test_the_digest_is_sha256():
    assert digest(b"abc").hex().startswith("ba7816bf8f01cfea414140de5dae2223")


# --- names


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Dr.\tChen \n", "Dr. Chen"),
        ("Mu\u0308nchen", "München"),
        ("東京\u3000タワー", "東京 タワー"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("Robert'); DROP TABLE entity; --", "Robert'); DROP TABLE entity; --"),
    ],
)
def test_a_name_is_kept_composed_and_with_single_blanks(given, kept):
    assert clean_name(given, "subject") == kept
    assert clean_label(given, "subject") == kept


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "must be text, not NoneType"),
        (7, "must be text, not int"),
        (b"Max", "must be text, not bytes"),
        ("a\x00b", "U+0000 at position 1"),
        ("\x1b[2J", "U+001B at position 0"),
        ("a\x7f", "U+007F at position 1"),
        ("a\x9b", "U+009B at position 1"),
        ("Max\ud800", "U+D800 at position 3"),
        ("x" * 201, "has 201 characters; at most 200"),
        ("x" * 10_000_000, "has 10000000 characters"),
    ],
)
@pytest.mark.parametrize("clean", [clean_name, clean_label])
def test_a_name_that_cannot_be_kept_is_refused_with_the_reason(clean, given, says):
    with pytest.raises(InputError) as caught:
        clean(given, "wing")
    message = str(caught.value)
    assert message.startswith("wing ")
    assert says in message
    assert message.isprintable()
    assert len(message) < 300


def test_only_a_label_may_be_empty():
    assert clean_label(" \n\t", "label") == ""
    for empty in ("", " \n\t\u3000"):
        with pytest.raises(InputError, match="wing is empty; give a name"):
            clean_name(empty, "wing")


def test_a_names_length_counts_when_it_is_clean():
    assert clean_name("  a  b  ", "room", max_chars=3) == "a b"
    with pytest.raises(InputError):
        clean_name("abcd", "room", max_chars=3)


@given(anything)
def test_a_clean_name_is_clean_again(text):
    try:
        name = clean_label(text, "name")
    except InputError:
        return
    assert clean_label(name, "name") == name
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in name)
    assert fold(text) == fold(name)


@pytest.mark.parametrize(
    "spellings",
    [
        ("Dr.  Chen", "dr. chen", " DR. CHEN "),
        ("Straße", "STRASSE", "strasse"),
        ("München", "Mu\u0308nchen", "MÜNCHEN"),
        ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
        ("ΐ", "Ϊ\u0301", "\u03b9\u0308\u0301"),
        ("Москва", "МОСКВА"),
    ],
)
def test_spellings_of_one_name_have_one_key(spellings):
    assert len({fold(name) for name in spellings}) == 1


def test_different_names_keep_different_keys():
    assert len({fold(name) for name in ("Max", "Maks", "Dr Chen", "Dr. Chen", "e", "é")}) == 6


@given(anything)
def test_a_key_is_its_own_key(text):
    assert fold(fold(text)) == fold(text)
    assert fold_predicate(fold_predicate(text)) == fold_predicate(text)


def test_every_single_character_has_a_key_that_is_its_own():
    assert all(fold(fold(chr(code))) == fold(chr(code)) for code in range(sys.maxunicode + 1))


def test_a_predicates_key_joins_its_words():
    assert {fold_predicate(p) for p in ("Works At", "works-at", " works  at", "WORKS_AT")} == {
        "works_at"
    }


# --- chunks


@given(wild, st.integers(1, 40))
@example("a" * 30, 1)
@example("```\na\n\nb\n```\n\n" * 9, 20)
def test_chunks_hold_all_ink_in_order_and_never_more_than_allowed(text, max_chars):
    spans = chunks(text, max_chars=max_chars)
    assert unspaced("".join(text[start:end] for start, end in spans)) == unspaced(text)
    done = 0
    for start, end in spans:
        assert done <= start < end <= start + max_chars
        assert text[start:end] == text[start:end].strip()
        done = end


@pytest.mark.parametrize("text", ["", " ", "\n\n\t \u3000"])
def test_text_without_ink_has_no_chunks(text):
    assert chunks(text) == []


@pytest.mark.parametrize("text", LANGUAGES.values())
def test_a_short_text_is_one_chunk_without_its_edges(text):
    assert chunks(f"\n {text} \n") == [(2, 2 + len(text))]


def cut(text: str, max_chars: int) -> list[str]:
    return [text[start:end] for start, end in chunks(text, max_chars=max_chars)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two six\n \nthree. four five\nsix", ["one two six", "three. four five"]),
        ("one two\r\n\r\nthree. four five six", ["one two", "three. four five"]),
        ("one two three\nfour. five six seven", ["one two three", "four. five six"]),
        ("one two three. Four five", ["one two three.", "Four five"]),
        ('He said "one two." Then three', ['He said "one two."', "Then three"]),
        ("version 3.14 of it all", ["version 3.14 of it", "all"]),
        ("one two three four five", ["one two three four", "five"]),
        (
            "一二三四五六七八九十。一二三四五六七八九十",
            ["一二三四五六七八九十。", "一二三四五六七八九十"],
        ),
        (
            "彼は言った「一二三四五六！」そして又一二三四",
            ["彼は言った「一二三四五六！」", "そして又一二三四"],
        ),
        ("Go on to Rome.東京一二三四五六", ["Go on to Rome.", "東京一二三四五六"]),
        ("x" * 40, ["x" * 18, "x" * 18, "x" * 4]),
    ],
)
def test_a_chunk_ends_at_the_best_place_in_its_second_half(text, parts):
    assert cut(text, 18)[: len(parts)] == parts


def test_an_early_cut_is_taken_only_when_there_is_no_later_one():
    assert cut("a\n\nbbb ccc ddd eee", 12) == ["a\n\nbbb ccc", "ddd eee"]
    assert cut("a\n\n" + "b" * 12, 12) == ["a", "b" * 12]


def test_a_chunk_may_end_exactly_where_it_is_full():
    assert cut("aaaa bbbb\ncccc dddd", 9) == ["aaaa bbbb", "cccc dddd"]
    assert cut("aaaa bbbb", 9) == ["aaaa bbbb"]


@pytest.mark.parametrize("marks", ["```", "~~~", "`````"])
def test_a_fenced_block_that_fits_is_not_cut(marks):
    code = f"{marks}python\nx = 1\n\n\ny = 2. Or so.\n{marks}"
    assert cut(f"Some words before it.\n\n{code}\nand after it.", len(code)) == [
        "Some words before it.",
        code,
        "and after it.",
    ]


def test_a_fenced_block_that_does_not_fit_is_cut_like_other_text():
    assert cut("```\none two\n\nthree four\n```", 15) == ["```\none two", "three four\n```"]


def test_a_fence_that_is_never_closed_hides_nothing():
    assert cut("```\none two\n\nthree four", 15) == ["```\none two", "three four"]
    inline = "```a``` b c d e\n\nff gg\n```"
    assert cut(f"{inline}\nhh", len(inline)) == ["```a``` b c d e", "ff gg\n```\nhh"]


def test_a_longer_fence_is_closed_only_by_its_like():
    code = "````\n```\na\n```\n\n~~~\nb\n````"
    assert cut(f"{code}\n\nend of it", len(code)) == [code, "end of it"]


def test_a_chunk_needs_room_for_a_character():
    with pytest.raises(InputError, match="give 1 or more"):
        chunks("text", max_chars=0)


# The search for a cut looks at no character more often than a fixed number of times; were it
# otherwise, one of these would run for hours, and the suite's own time limit would end it.
@pytest.mark.parametrize(
    "piece",
    ["The quick brown fox. ", "word\n\n", "a\n", "a", ".", "`", "```\n", "a" + " " * 2_000, "京。"],
)
def test_ten_megabytes_are_cut_in_one_pass(piece):
    text = piece * (10_000_000 // len(piece.encode()))
    spans = chunks(text)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text.rstrip())
    assert len(spans) <= len(text) // 400


# --- full text


@pytest.fixture
def full_text():
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE f USING fts5(x, tokenize='porter unicode61 remove_diacritics 2')"
    )
    yield connection
    connection.close()


def found(connection: apsw.Connection, text: str, phrase: str) -> bool:
    connection.execute("DELETE FROM f")
    connection.execute("INSERT INTO f VALUES (?)", (searchable(text),))
    return bool(connection.execute("SELECT 1 FROM f WHERE f MATCH ?", (f'"{phrase}"',)).fetchall())


@pytest.mark.parametrize(
    ("language", "query"),
    [
        ("German", "straße munchen GESPERRT"),
        ("German", "STRAßE MÜNCHEN Fahren"),
        ("Russian", "ключ сейфе"),
        ("French", "l'école fermee"),
        ("decomposed", "Майский Ωmega"),
        ("French", "une d'école"),
        ("Chinese", "数据库 PostgreSQL"),
        ("Chinese", "“在北京”"),
        ("Japanese", "東京 GraphQL"),
        ("Japanese", "ﾀﾜｰ"),
        ("Japanese", '"タワーへ行く"'),
        ("Korean", "데이터베이스"),
        ("Korean", unicodedata.normalize("NFD", "데이터베이스")),
        ("Thai", "ฐานข้อมูล"),
        ("Thai", '"ที่กรุงเทพ"'),
        ("Hindi", "डेटाबेस"),
        ("emoji", "deployed friday"),
    ],
)
def test_words_of_many_languages_are_found_with_every_phrase(full_text, language, query):
    terms = [phrase for phrase in phrases(query) if phrase != "une"]
    assert terms
    assert all(found(full_text, LANGUAGES[language], phrase) for phrase in terms)


@pytest.mark.parametrize(
    ("language", "query"),
    [("Chinese", "南京"), ("Japanese", "京都"), ("Thai", "เชียงใหม่"), ("Korean", "부산")],
)
def test_a_word_that_is_not_there_is_not_found(full_text, language, query):
    assert not all(found(full_text, LANGUAGES[language], phrase) for phrase in phrases(query))


def test_an_identifier_is_found_by_its_exact_name_only(full_text):
    (phrase,) = phrases("PAYMENT_KEY-7F3")
    assert found(full_text, "the key is PAYMENT_KEY-7F3.", phrase)
    assert not found(full_text, "PAYMENT_KEY-7F4 and KEY PAYMENT 7F3", phrase)


@pytest.mark.parametrize(
    ("text", "indexed"),
    [
        ("東京タワー", "東京 京タ タワ ワー"),
        ("猫", "猫"),
        ("GraphQLを選んだ。", "GraphQL を選 選ん んだ 。"),
        ("서울에서 만나", "서울 울에 에서 만나"),
        ("ที่นี่ 55", "ทน 55"),
        ("か\u3099き", "がき"),
        ("ｶﾀｶﾅ", "カタ タカ カナ"),
        ("a\x00b\ud800c", "a b c"),
        ("Göße — naïve, «да» v1.2 \u0301", "Gösse — naïve, «да» v1.2 \u0301"),
        ("STRAẞE, cœur, Ærø, ёж, Ёж", "STRASSE, coeur, AErø, еж, Еж"),
        ("Ent\u00adscheidung ＧｒａｐｈＱＬ：１２", "Entscheidung GraphQL:12"),
        ("sent🤖now 500₽", "sent now 500 "),
    ],
)
def test_scripts_without_blanks_become_pairs_and_other_text_stays(text, indexed):
    assert searchable(text) == indexed


@given(wild)
def test_searchable_text_stays_as_it_is_and_can_be_stored(text):
    once = searchable(text)
    assert searchable(once) == once
    once.encode()
    assert "\x00" not in once


@given(st.text(st.characters(max_codepoint=0x0DFF, exclude_characters="\x00")))
def test_text_without_such_scripts_is_only_composed(text):
    text = re.sub("[ßœŒæÆёЁ\u00ad]", "", text)
    assert searchable(text) == unicodedata.normalize("NFC", text)


@given(wild)
def test_full_text_sees_what_is_searchable_and_each_character_of_a_pair_alone(text):
    whole = indexed(text)
    assert whole.startswith(searchable(text))
    alone = whole.removeprefix(searchable(text)).split()
    assert len(set(alone)) == len(alone)
    assert all(len(char) == 1 for char in alone)
    assert all(char in alone for term in phrases(text) for char in term if char in "京都カก한")


def test_megabytes_of_chinese_become_searchable():
    assert len(searchable("東京都は大きい" * 400_000)) == 3 * (7 * 400_000 - 1) - 1


@pytest.mark.parametrize(
    ("origin", "prefix"),
    [
        (
            ("2023-05-08", "Caroline", "chat.jsonl"),
            "2023-05-08, 8 May 2023, Caroline, chat.jsonl\n",
        ),
        (("2023-05-08T13:56:00Z", "", ""), "2023-05-08, 8 May 2023\n"),
        (("2023-12", "", ""), "2023-12, December 2023\n"),
        (("2023", "", ""), "2023\n"),
        (("", "Caro\nline", ""), "Caro line\n"),
        (("", " ", ""), ""),
    ],
)
def test_full_text_sees_a_chunk_with_its_origin_on_one_line(origin, prefix):
    said, speaker, source = origin
    seen = indexed_text("xx猫の木yy", 2, 5, said=said, speaker=speaker, source=source)
    assert seen == f"{prefix}猫の の木\nの 木 猫"


# --- questions


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("why did we choose GraphQL?", ["choose", "GraphQL"]),
        ("PAYMENT_KEY-7F3", ["PAYMENT KEY 7F3"]),
        ("foo.bar() v1.2 src/a.py", ["foo bar", "v1 2", "src", "a py"]),
        ('the "release of the Kraken" date', ["release of the Kraken", "date"]),
        ("\u201cto be\u201d or not", ["to be"]),
        ("to be or not to be", ["to", "be", "or", "not"]),
        ("Caroline's book, it's here", ["Caroline", "book"]),
        ("it's", ["it"]),
        ("don't won\u2019t isn't stop", ["stop"]),
        ("don't", ["don t"]),
        ("l'école qu'on aime O'Brien", ["école", "aime", "O Brien"]),
        ("Straße：cœur", ["Strasse", "coeur"]),
        ("Key key KEY kéy", ["Key", "kéy"]),
        ("東京タワーへ", ["東京", "京タ", "タワ", "ワー", "ーへ"]),
        ('"東京タワー" v2', ["東京 京タ タワ ワー", "v2"]),
        ("GraphQLを選", ["GraphQL", "を選"]),
        ("猫", ["猫"]),
        ("ที่นี่", ["ทน"]),
        ("black\u2014white and so\u2026on", ["black", "white"]),
        ('a AND b* OR NEAR(c, 2) ^d {x} : -e "', ["b", "NEAR", "c", "2", "d", "x", "e"]),
        ('unclosed "quote here', ["unclosed", "quote"]),
        ("naïve cafe\u0301", ["naïve", "café"]),
        ("'; DROP TABLE fact; --", ["DROP", "TABLE", "fact"]),
        ("", []),
        ('?! 🤖 \ud800\x00 \u0301 "" ___', []),
    ],
)
def test_a_question_becomes_its_terms(query, terms):
    assert phrases(query) == terms


@given(wild)
@example('"" NEAR(" OR * ^ : {a} -b +c \\ \' ( ) [ ] , ; % _ \x00 \ud800 \u202e')
@example("\u0301a \ue000\u0301 \U000f0000 a\u0301\u0489b ². ½ Ⓐ")
def test_a_phrase_holds_words_and_single_blanks_only_and_stands_once(query):
    terms = phrases(query)
    assert len({term.casefold() for term in terms}) == len(terms)
    for term in terms:
        assert re.fullmatch(r"\S+(?: \S+)*", term)
        for word in term.split(" "):
            assert unicodedata.category(word[0])[0] in "LNC"
            for char in word:
                category = unicodedata.category(char)
                assert category[0] in "LN" or category == "Co" or "\u0300" <= char <= "\u0331"


def test_every_phrase_of_a_hostile_question_is_taken_by_full_text(full_text):
    @given(wild)
    @example('"" NEAR(" OR * ^ : {a} -b +c \\ \' ( ) [ ] , ; % _ \x00 \ud800 \u202e')
    def check(query):
        for phrase in phrases(query):
            full_text.execute("SELECT 1 FROM f WHERE f MATCH ?", (f'"{phrase}"',)).fetchall()

    check()


def test_every_phrase_of_a_text_finds_that_text(full_text):
    # Scripts on which Python and SQLite's older tables agree.
    known = st.one_of(
        st.sampled_from(" .,'_-\n東京タワー한국어กินข้าว🤖₽"),
        st.characters(max_codepoint=0x052F, categories=("L", "Nd", "Po")),
    )

    @given(st.text(known, max_size=40))
    def check(text):
        full_text.execute("DELETE FROM f")
        full_text.execute("INSERT INTO f VALUES (?)", (searchable(text),))
        for phrase in phrases(text):
            match = full_text.execute(
                "SELECT 1 FROM f WHERE f MATCH ?", (f'"{phrase}"',)
            ).fetchall()
            assert match, (text, phrase)

    check()


def test_a_question_of_megabytes_becomes_its_terms():
    assert phrases("a" * 3_000_000 + "'") == ["a" * 3_000_000]
    assert phrases("key " * 500_000) == ["key"]


def test_the_stop_words_are_a_compact_list_of_single_lower_case_words():
    assert 100 <= len(STOP_WORDS) <= 150
    assert all(word == fold(word) and word.isalpha() for word in STOP_WORDS)


# --- names that are near


@pytest.mark.parametrize(
    ("name", "among", "near"),
    [
        ("Maxx Mustermann", ["Erika", "Max Mustermann"], ("Max Mustermann",)),
        ("chen", ["Cheng", "Dr. Chen", "Bob"], ("Cheng", "Dr. Chen")),
        ("Alise", ["Alice", "Bob"], ("Alice",)),
        ("ACME", ["acme gmbh", "acne"], ("acme gmbh", "acne")),
        ("the office", ["The Who", "Office"], ("Office",)),
        ("東京タワ", ["東京タワー", "大阪"], ("東京タワー",)),
        ("zzz", ["Alice", "Bob"], ()),
        ("", ["Alice"], ()),
        ("Alise", [], ()),
    ],
)
def test_names_that_share_a_word_come_before_those_spelt_alike(name, among, near):
    assert near_names(name, among) == near


def test_near_names_come_once_and_no_more_than_asked_for():
    assert near_names("x1", ["x1 a", "x1 a", "x1 b", "x1 c"], limit=2) == ("x1 a", "x1 b")


# --- terminals


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc\r\nd", "a\tb\nc\r\nd"),
        ("\x1b[2J\x07", "␛[2J␇"),
        ("over\rwritten", "over␍written"),
        ("\x00\x7f\x9b", "␀␡\\u009b"),
        ("\u202eevil\u2066\u200f\u061c", "\\u202eevil\\u2066\\u200f\\u061c"),
        ("one\u2028two", "one\\u2028two"),
        ("\ud800", "\\ud800"),
        ("Größe 東京 👩‍👩‍👧", "Größe 東京 👩‍👩‍👧"),
    ],
)
def test_nothing_in_plain_text_moves_the_cursor_or_turns_the_direction(text, shown):
    assert plain(text) == shown


@given(anything)
def test_plain_text_can_be_printed_and_stays_as_it_is(text):
    shown = plain(text)
    shown.encode()
    assert plain(shown) == shown
    assert not any(unicodedata.category(char) == "Cc" for char in re.sub(r"\r\n|[\n\t]", "", shown))


# --- start-up


def test_text_and_instants_load_nothing_that_is_slow():
    slow = {"typing", "logging", "pathlib", "apsw", "asyncio", "click", "numpy", "tomllib"}
    script = (
        "import sys; import palatine.text; print('dataclasses' in sys.modules);"
        f"import palatine.instants; print(sorted({slow!r} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout.split("\n")[:2]) == (0, ["False", "[]"]), ran.stderr
