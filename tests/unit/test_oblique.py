"""The benchmark's own set keeps its promise: no question shares a content word with its answer."""

import json
from pathlib import Path

import apsw

from palatine.text import STOP_WORDS, searchable

LINES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "benchmarks" / "oblique.jsonl")
    .read_text("utf-8")
    .splitlines()
]
TEXTS = {line["id"]: line["text"] for line in LINES if "id" in line}
QUESTIONS = {line["query"]: line["relevant"] for line in LINES if "query" in line}


def stems(text: str) -> set[str]:
    """Its words as full text keeps them, stop words aside."""
    connection = apsw.Connection(":memory:")
    tokenize = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])
    words = [
        word
        for word in searchable(text).split()
        if word.casefold().strip(".,;:?!'") not in STOP_WORDS
    ]
    found = tokenize(
        " ".join(words).encode(),
        apsw.FTS5_TOKENIZE_DOCUMENT,
        None,
        include_offsets=False,
        include_colocated=False,
    )
    return set(found)


def test_no_question_shares_a_content_word_with_its_answer() -> None:
    shared = {
        question: common
        for question, relevant in QUESTIONS.items()
        for key in relevant
        if (common := stems(question) & stems(TEXTS[key]))
    }
    assert not shared
    assert all(stems(question) for question in QUESTIONS)


def test_sixty_questions_have_an_answer_each_among_six_hundred_other_texts() -> None:
    answers = [key for relevant in QUESTIONS.values() for key in relevant]
    assert len(QUESTIONS) == len(answers) == len(set(answers)) == 60
    assert set(answers) <= TEXTS.keys()
    assert len(set(TEXTS.values())) == len(TEXTS) == 660
