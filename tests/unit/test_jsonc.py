"""A member of JSON with comments is changed where it stands, and nothing else."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palatine.cli import jsonc

SETTINGS = """\
// Settings of the editor
{
  /* how it looks: */ "theme": "Dark, // not a comment",
  "size": 1.10, // points
  "servers": {
    // the one of the house
    "first": { "command": "a", "args": ["x", ], }, // keep
    "second": {"command": "b"} // also keep
  },
  "last": [1e400, null]
}
"""


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    gone = [line for line in before.splitlines() if line not in after.splitlines()]
    return gone, [line for line in after.splitlines() if line not in before.splitlines()]


def test_comments_and_last_commas_are_read_over() -> None:
    value = jsonc.parse(SETTINGS)
    assert value["theme"] == "Dark, // not a comment"
    assert value["servers"] == {
        "first": {"command": "a", "args": ["x"]},
        "second": {"command": "b"},
    }
    assert jsonc.parse("\ufeff { } // end") == {}
    assert jsonc.parse(" // nothing\n") == jsonc.parse("") == {}


def test_a_member_is_put_last_and_every_other_line_stays() -> None:
    after = jsonc.put(SETTINGS, ("servers", "ours"), {"command": "c"})
    assert lines_changed(SETTINGS, after) == (
        ['    "second": {"command": "b"} // also keep'],
        [
            '    "second": {"command": "b"}, // also keep',
            '    "ours": {',
            '      "command": "c"',
            "    }",
        ],
    )
    assert jsonc.parse(after)["servers"]["ours"] == {"command": "c"}
    assert jsonc.drop(after, ("servers", "ours")) == SETTINGS


def test_a_member_is_replaced_where_it_stands() -> None:
    after = jsonc.put(SETTINGS, ("servers", "first"), {"command": "c"})
    assert lines_changed(SETTINGS, after) == (
        ['    "first": { "command": "a", "args": ["x", ], }, // keep'],
        ['    "first": {', '      "command": "c"', "    }, // keep"],
    )
    same = {"command": "a", "args": ["x"]}
    assert jsonc.put(SETTINGS, ("servers", "first"), same) == SETTINGS


def test_a_member_goes_with_its_line_and_its_remark() -> None:
    after = jsonc.drop(SETTINGS, ("servers", "first"))
    gone = '    "first": { "command": "a", "args": ["x", ], }, // keep\n'
    assert after == SETTINGS.replace(gone, "")
    after = jsonc.drop(SETTINGS, ("servers", "second"))
    assert lines_changed(SETTINGS, after) == (
        [
            '    "first": { "command": "a", "args": ["x", ], }, // keep',
            '    "second": {"command": "b"} // also keep',
        ],
        ['    "first": { "command": "a", "args": ["x", ], } // keep'],
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "t": {\n    "n": 1\n  }\n}\n'),
        ("{}", '{\n  "t": {\n    "n": 1\n  }\n}'),
        ("// mine\n", '// mine\n{\n  "t": {\n    "n": 1\n  }\n}\n'),
        ('{"a":2}', '{"a":2, "t": {\n  "n": 1\n}}'),
        ('{\n\t"a": 2\n}\n', '{\n\t"a": 2,\n\t"t": {\n\t\t"n": 1\n\t}\n}\n'),
        ('{\r\n  "a": 2,\r\n}', '{\r\n  "a": 2,\r\n  "t": {\r\n    "n": 1\r\n  },\r\n}'),
        ('{\n  "t": {},\n}', '{\n  "t": {\n    "n": 1\n  },\n}'),
        (
            '{\n  "t": {\n    // none yet\n  }\n}',
            '{\n  "t": {\n    "n": 1\n    // none yet\n  }\n}',
        ),
        ('{"t": {"a": 2}}', '{"t": {"a": 2, "n": 1}}'),
    ],
)
def test_a_member_is_written_as_its_neighbours_are(before: str, after: str) -> None:
    assert jsonc.put(before, ("t", "n"), 1) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n  "a": 2,\n  "t": {\n    "n": 1\n  }\n}\n', '{\n  "a": 2\n}\n'),
        ('{\n  "t": {\n    "n": 1\n  },\n  "a": 2\n}\n', '{\n  "a": 2\n}\n'),
        ('{\n  "t": {\n    "n": 1\n  }\n}\n', "{}\n"),
        ('{"t": {"n": 1}, "a": 2}', '{"a": 2}'),
        ('{"a": 2, "t": {"n": 1}}', '{"a": 2 }'),
        ('{\r\n  "a": 2,\r\n  "t": {\r\n    "n": 1\r\n  }\r\n}', '{\r\n  "a": 2\r\n}'),
        ('{\n  "t": {\n    // why\n    "n": 1\n  }\n}', '{\n  "t": {\n    // why\n  }\n}'),
    ],
)
def test_a_member_goes_without_a_trace(before: str, after: str) -> None:
    assert jsonc.drop(before, ("t", "n")) == after


BROKEN = [
    "{",
    '{"a" 1}',
    '{"a": }',
    "{'a': 1}",
    "{a: 1}",
    '{"a": 01}',
    "{} x",
    '{"a": NaN}',
    "[1 2]",
]
BROKEN += ['{"a": "\n"}', '{"a": 1,, }', "{,}", "[,]", "/* ", '{"a": tru}', "[" * 100_000, "1 2"]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"char \d+|too deeply"):
        jsonc.parse(text)


def test_a_name_that_stands_there_twice_is_refused_where_it_matters() -> None:
    text = '{"a": 1, "a": 2, "t": {"n": 1}}'
    assert jsonc.put(text, ("t", "n"), 2) == text.replace('"n": 1', '"n": 2')
    for change in (lambda: jsonc.put(text, ("a",), 3), lambda: jsonc.drop(text, ("a",))):
        with pytest.raises(ValueError, match="it has 'a' twice"):
            change()
    with pytest.raises(KeyError):
        jsonc.drop(text, ("t", "m"))


NAMES = st.sampled_from(["a", "b", 'c"', "é //"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3)
REMARKS = ["/* , } */", "// ] ,"]
GAPS = st.sampled_from(["", " ", "\n  ", "\t", "\r\n", REMARKS[0], f" {REMARKS[1]}\n"])


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, dict[str, dict[str, object]]]:
    """A table in JSON with comments, blanks and commas where they are allowed, and its value."""
    table = draw(TABLES)
    plain = json.dumps(table, ensure_ascii=False, indent=draw(st.sampled_from([None, 2, "\t"])))
    parts = re.split(r'("(?:[^"\\]|\\.)*"|[{}\[\]:,])', plain)
    text = "".join(part + draw(GAPS) if part.strip() else part for part in parts)
    return text, table


@given(texts(), NAMES, NAMES, VALUES)
def test_put_and_drop_change_the_value_of_one_member_only(
    given_text: tuple[str, dict[str, dict[str, object]]], outer: str, inner: str, value: object
) -> None:
    text, table = given_text
    assert jsonc.parse(text) == table
    after = jsonc.put(text, (outer, inner), value)
    expected = {**table, outer: {**table.get(outer, {}), inner: value}}
    assert jsonc.parse(after) == expected
    assert list(jsonc.parse(after)) == list(expected)
    without = {name: entry for name, entry in expected[outer].items() if name != inner}
    left = {**expected, outer: without}
    dropped = jsonc.parse(jsonc.drop(after, (outer, inner)))
    if not without and outer not in dropped:  # it stays where a comment is in it
        del left[outer]
    assert dropped == left
    if outer in table and inner not in table[outer]:
        assert [after.count(gap) for gap in REMARKS] == [text.count(gap) for gap in REMARKS]
