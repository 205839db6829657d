# ruff: noqa: RUF001 - texts in several scripts
"""Search by words in six languages besides English: questions as people ask them, and misspellings.

Each language has texts about the same things, so that a question must tell them apart.
"""

from collections.abc import Iterator

import pytest

from palatine import NewDrawer, Palace

TEXTS = {
    "de": [
        "Wir haben uns für GraphQL entschieden, weil die Mobilgruppe weniger Anfragen braucht.",
        "Der Schlüssel für die Straßenkarte liegt im Tresor unter „Kasse“.",
        "Freitags wird nicht ausgeliefert: Übers Wochenende ist niemand da, der Fehler behebt.",
        "Die Datenbank läuft auf PostgreSQL 16; die Sicherung dauert vierzehn Minuten.",
    ],
    "ru": [
        "Мы выбрали GraphQL, потому что мобильной команде нужен один запрос.",
        "Ключ от платёжной системы лежит в сейфе, в разделе «Касса».",
        "По пятницам релизов нет: в выходные некому исправлять ошибки.",
        "База данных работает на PostgreSQL 16, резервная копия занимает четырнадцать минут.",
    ],
    "fr": [
        "Nous avons choisi GraphQL parce que l'équipe mobile a besoin d'une seule requête.",
        "La clé du système de paiement se trouve dans le coffre, au cœur du dossier « Caisse ».",
        "On ne livre jamais le vendredi : personne n'est là le week-end pour corriger les erreurs.",
        "La base de données tourne sur PostgreSQL 16 ; la sauvegarde dure quatorze minutes.",
    ],
    "zh": [
        "我们选择了GraphQL，因为移动团队只需要一次请求。",
        "支付系统的密钥放在保险箱里，名称是“收银台”。",
        "星期五不发布新版本，因为周末没有人修复错误。",
        "数据库运行在PostgreSQL 16上，备份需要十四分钟。他养了一只猫。",
    ],
    "ja": [
        "モバイルチームは一回のリクエストで済むので、GraphQLを選びました。",
        "決済システムの鍵は金庫の「レジ」にあります。",
        "金曜日にはリリースしません。週末はエラーを直す人がいないからです。",
        "データベースはＰｏｓｔｇｒｅＳＱＬ１６で動き、バックアップは十四分かかります。社長は犬と猫が好き。",
    ],
    "ko": [
        "모바일 팀은 요청 한 번이면 충분하기 때문에 GraphQL을 선택했습니다.",
        "결제 시스템의 열쇠는 금고의 '계산대' 항목에 있습니다.",
        "금요일에는 배포하지 않습니다. 주말에는 오류를 고칠 사람이 없습니다.",
        "데이터베이스는 PostgreSQL 16에서 실행되며 백업에는 십사 분이 걸립니다. 물을 마신다.",
    ],
}

# A question, and which of its language's four texts answers it.
QUESTIONS = [
    ("de", "Warum haben wir uns für GraphQL entschieden?", 0),
    ("de", "wo liegt der schlussel", 1),
    ("de", "STRASSENKARTE", 1),
    ("de", "Straßenkarte", 1),
    ("de", "Daten\u00adbank", 3),
    ("de", "Wird freitags ausgeliefert?", 2),
    ("de", "Wie lange dauert die Sicherung der Daten\u00adbank?", 3),
    ("ru", "Почему мы выбрали GraphQL?", 0),
    ("ru", "где ключ от ПЛАТЕЖНОЙ системы", 1),
    ("ru", "платежной", 1),
    ("ru", "Есть ли релизы по пятницам?", 2),
    ("ru", "сколько минут занимает резервная копия", 3),
    ("fr", "Pourquoi avons-nous choisi GraphQL ?", 0),
    ("fr", "Où est la cle de paiement ?", 1),
    ("fr", "coeur du dossier", 1),
    ("fr", "Qui corrige l’erreur le week-end ?", 2),
    ("fr", "combien de temps dure une sauvegarde", 3),
    ("zh", "为什么选择GraphQL？", 0),
    ("zh", "密钥在哪里", 1),
    ("zh", "星期五可以发布吗？", 2),
    ("zh", "备份要多长时间", 3),
    ("zh", "猫", 3),
    ("ja", "なぜGraphQLを選んだのですか", 0),
    ("ja", "鍵はどこにありますか？", 1),
    ("ja", "鍵", 1),
    ("ja", "金曜日のリリース", 2),
    ("ja", "PostgreSQL16", 3),
    ("ja", "ﾊﾞｯｸｱｯﾌﾟ", 3),
    ("ja", "犬", 3),
    ("ko", "왜 GraphQL을 선택했나요?", 0),
    ("ko", "열쇠는 어디에 있나요?", 1),
    ("ko", "금요일에 배포할 수 있나요", 2),
    ("ko", "데이터베이스 백업", 3),
    ("ko", "물", 3),
]


@pytest.fixture(scope="module")
def palace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Palace]:
    """All texts of all languages, in one palace, each language a wing."""
    with Palace.open(tmp_path_factory.mktemp("languages") / "palace", embedder="none") as opened:
        opened.add_many(
            NewDrawer(text, wing=language, room=f"room {number}")
            for language, texts in TEXTS.items()
            for number, text in enumerate(texts)
        )
        yield opened
        assert opened.check() == []


@pytest.mark.parametrize(("language", "question", "answer"), QUESTIONS)
def test_a_question_finds_its_answer_first(
    palace: Palace, language: str, question: str, answer: int
) -> None:
    assert palace.search(question, wing=language)[0].text == TEXTS[language][answer]


@pytest.mark.parametrize(
    ("language", "question", "answer"),
    [
        each
        for each in QUESTIONS
        if "graphql" not in each[1].lower() and "postgre" not in each[1].lower()
    ],
)
def test_the_other_languages_are_not_in_the_way(
    palace: Palace, language: str, question: str, answer: int
) -> None:
    assert palace.search(question)[0].text == TEXTS[language][answer]


@pytest.mark.parametrize("question", ["狗", "鱼", "곰", "слон", "éléphant", "Nashorn"])
def test_what_no_text_holds_is_not_found(palace: Palace, question: str) -> None:
    assert len(palace.search(question)) == 0


@pytest.mark.parametrize(
    ("language", "word"), [("zh", "数据库"), ("ja", "金曜日"), ("ko", "금요일")]
)
def test_a_word_of_more_than_two_characters_is_a_phrase_in_quotes(
    palace: Palace, language: str, word: str
) -> None:
    hits = palace.search(f'"{word}"')
    assert [word in hit.text for hit in hits] == [True]
    assert hits[0].drawer.wing == language
    assert hits[0].confidence == pytest.approx(1.0)
    assert len(palace.search(f'"{word[::-1]}"')) == 0


def test_a_single_character_is_found_wherever_it_stands(palace: Palace) -> None:
    for text in ("山田さん", "富士山", "この山は高い"):
        palace.add(text, wing="mountains")
    assert len(palace.search("山", wing="mountains")) == 3
    assert all(hit.confidence == pytest.approx(1.0) for hit in palace.search("山"))


def test_the_date_of_a_text_and_its_source_are_found_in_any_script(palace: Palace) -> None:
    palace.add("会议记录", wing="minutes", source="会议/三月.md", said_at="2025-03-14")
    assert [hit.text for hit in palace.search("三月 会议", wing="minutes")] == ["会议记录"]
    assert [hit.text for hit in palace.search("14 March 2025", wing="minutes")] == ["会议记录"]
