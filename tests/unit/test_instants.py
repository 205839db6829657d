import time
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palatine.errors import InputError
from palatine.instants import (
    Instant,
    Precision,
    as_end,
    check_interval,
    now,
    parse_end,
    parse_period,
    parse_start,
)

DAY = 86_400_000_000
LAST_DAY = date(9998, 12, 31)

days = st.dates(max_value=LAST_DAY)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9998, 12, 30),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.integers(-1439, 1439).map(lambda east: timezone(timedelta(minutes=east))),
)
texts = st.one_of(
    days.map(str),
    days.map(lambda day: str(day)[:7]),
    days.map(lambda day: str(day)[:4]),
    moments.map(str),
    moments.map(datetime.isoformat),
)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ("2025", at(2025, 1, 1), at(2026, 1, 1)),
        ("2025-03", at(2025, 3, 1), at(2025, 4, 1)),
        ("2025-12", at(2025, 12, 1), at(2026, 1, 1)),
        ("2024-02", at(2024, 2, 1), at(2024, 3, 1)),
        ("2025-03-14", at(2025, 3, 14), at(2025, 3, 15)),
        ("1969-12-31", at(1969, 12, 31), at(1970, 1, 1)),
        ("9998", at(9998, 1, 1), at(9999, 1, 1)),
        ("0001", at(1, 1, 1), at(2, 1, 1)),
    ],
)
def test_an_end_given_as_a_year_month_or_day_means_through_it(given, start, end):
    begun, ended = parse_start(given), parse_end(given)
    assert (begun.at, ended.at) == (start, end)
    assert str(begun) == str(ended) == given
    assert (begun.is_end, ended.is_end) == (False, True)
    assert parse_period(given) == (begun, ended)


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("2025-03-14T09:26:53Z", "2025-03-14T09:26:53Z"),
        ("2025-03-14t09:26:53z", "2025-03-14T09:26:53Z"),
        ("  2025-03-14 09:26:53 \n", "2025-03-14T09:26:53Z"),
        ("2025-03-14T09:26", "2025-03-14T09:26:00Z"),
        ("2025-03-14T09:26:53.589793+00:00", "2025-03-14T09:26:53.589793Z"),
        ("2025-03-14T09:26:53.5Z", "2025-03-14T09:26:53.500000Z"),
        ("2025-03-14T09:26:53.123456789Z", "2025-03-14T09:26:53.123456Z"),
        ("2025-03-14T00:30:00+01:00", "2025-03-13T23:30:00Z"),
        ("2025-03-14T20:30:00-0430", "2025-03-15T01:00:00Z"),
        ("2025-03-14T12:00+05", "2025-03-14T07:00:00Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_a_datetime_is_an_exact_moment_in_utc_as_start_and_as_end(given, printed):
    start = parse_start(given)
    assert str(start) == printed
    assert parse_end(given) == start
    assert parse_period(given) == (start, Instant(start.micros + 1))
    assert (start.precision, start.is_end) == (Precision.INSTANT, False)


def test_dates_and_datetimes_are_taken_like_their_text():
    assert parse_end(date(2025, 3, 14)) == parse_end("2025-03-14")
    assert parse_start(at(2025, 3, 14, 9)) == parse_start("2025-03-14T09:00Z")
    tokyo = datetime(2025, 3, 14, 9, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert str(parse_start(tokyo)) == "2025-03-14T00:00:00Z"


@pytest.fixture
def in_tokyo(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_a_datetime_without_a_zone_is_taken_as_utc_wherever_the_machine_is(in_tokyo):
    naive = datetime(2025, 3, 14, 9)  # noqa: DTZ001 - this is what the test is about
    assert str(parse_start(naive)) == "2025-03-14T09:00:00Z"


def test_nothing_given_stays_open():
    assert parse_start(None) is parse_end(None) is parse_period(None) is None


@pytest.mark.parametrize(
    "given",
    [
        "", "   ", "2025-13", "2025-00", "2025-02-30", "2025-3-14", "03/2025", "14.03.2025",
        "20250314", "2025-W11-5", "2025-03-14T24:00", "2025-03-14T09", "2025-03-14T09:60",
        "2025-03-14T09:26:60Z", "2025-03-14T09:26:53,5Z", "2025-03-14T09:26+24:00",
        "2025-03-14T09:26+01:60", "2025-03-14T", "2025-03-14Z", "0000", "0000-01-01", "9999",
        "9999-12-31", "10000", "-2025", "0001-01-01T00:00+00:01", "9998-12-31T23:59:59-00:01",
        "today", "\uff12\uff10\uff12\uff15", "2025-03-14\x00", "\ud800", "2025\n2026",
        "'; DROP TABLE fact; --",
        True, 2025, 2025.5, b"2025", ["2025"], date(9999, 1, 1), at(9999, 12, 31),
    ],
)  # fmt: skip
@pytest.mark.parametrize("parse", [parse_start, parse_end, parse_period])
def test_what_is_no_time_is_refused_with_what_was_given_and_what_is_accepted(parse, given):
    with pytest.raises(InputError) as caught:
        parse(given, what="valid_from")
    message = str(caught.value)
    assert message.startswith("valid_from ")
    assert repr(given)[:80] in message
    assert "give a time like 2025, 2025-03, 2025-03-14, " in message
    assert message.isprintable()


def test_a_long_value_is_shown_in_part():
    with pytest.raises(InputError) as caught:
        parse_start("9" * 1_000_000)
    assert len(str(caught.value)) < 300


@given(texts)
def test_what_is_printed_reads_back_as_the_same(text):
    start, end = parse_start(text), parse_end(text)
    assert parse_start(str(start)) == start
    assert parse_end(str(end)) == end
    assert parse_period(str(start)) == parse_period(text)


@given(texts)
def test_an_instant_means_what_it_prints(text):
    for instant in parse_period(text):
        assert parse_start(instant) == parse_start(str(instant))
        assert parse_end(instant) == parse_end(str(instant))
        assert parse_period(instant) == parse_period(str(instant))


@given(texts)
def test_a_period_begins_with_its_start_and_is_never_empty(text):
    begin, end = parse_period(text)
    assert begin == parse_start(text)
    assert begin.micros < end.micros
    assert parse_end(text).micros in (begin.micros, end.micros)


@given(moments)
def test_a_datetime_and_its_instant_name_the_same_moment(moment):
    assert parse_start(moment).at == moment
    assert parse_start(moment).at.tzinfo is UTC


@pytest.mark.parametrize(
    ("begins", "printed"),
    [
        ("2025-03-15", "2025-03-14"),
        ("2025-03-01", "2025-02-28"),
        ("2024-03-01", "2024-02-29"),
        ("2025-01-01", "2024-12-31"),
        ("2025-03", "2025-02"),
        ("2025-01", "2024-12"),
        ("2025", "2024"),
        ("2025-03-15T00:00:00Z", "2025-03-15T00:00:00Z"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
    ],
)
def test_what_stops_when_a_period_begins_prints_as_the_period_before(begins, printed):
    assert str(as_end(parse_start(begins))) == printed


@given(texts)
@example("0001")
@example("0001-01")
@example("0001-01-01")
@example("9998-12-31")
def test_an_end_made_of_a_start_is_the_same_moment_and_reads_back_as_an_end(text):
    start = parse_start(text)
    end = as_end(start)
    assert end.micros == start.micros
    assert parse_end(str(end)) == end
    assert as_end(end) == end


@given(texts)
def test_what_ends_through_a_period_is_what_the_next_one_ends_by_beginning(text):
    _, end = parse_period(text)
    if end.micros < parse_end("9998").micros and end.is_end:
        assert as_end(Instant(end.micros, end.precision)) == end


@given(texts)
def test_a_store_keeps_an_instant_in_two_integers(text):
    for instant in (*parse_period(text), as_end(parse_start(text))):
        assert Instant.from_code(instant.micros, instant.code) == instant


def test_the_codes_are_those_that_stores_already_hold():
    codes = {Instant.from_code(0, code) for code in (0, 1, 2, 3, 5, 6, 7)}
    assert len(codes) == 7
    assert Instant.from_code(0, 0) == Instant(0)
    assert [parse_start(text).code for text in ("1970-01-01", "1970-01", "1970")] == [1, 2, 3]
    assert [parse_end(text).code for text in ("1970-01-01", "1970-01", "1970")] == [5, 6, 7]


@pytest.mark.parametrize("code", [-1, 4, 8])
def test_a_code_that_means_nothing_is_refused(code):
    with pytest.raises(InputError):
        Instant.from_code(0, code)


@pytest.mark.parametrize("micros", [parse_start("0001").micros - 1, parse_end("9998").micros + 1])
def test_a_moment_that_could_not_be_printed_is_refused(micros):
    with pytest.raises(InputError, match="years 1 to 9998"):
        Instant(micros)


def test_one_moment_with_two_precisions_is_two_instants():
    assert parse_start("2025") != parse_start("2025-01") != parse_start("2025-01-01")
    assert parse_start("2025").micros == parse_start("2025-01-01T00:00Z").micros
    assert parse_end("2024") != parse_start("2025")


def test_now_is_the_systems_clock_cut_to_microseconds(monkeypatch):
    monkeypatch.setattr("palatine.instants.time.time_ns", lambda: 1_741_944_413_589_793_999)
    assert str(now()) == "2025-03-14T09:26:53.589793Z"


def test_one_day_is_an_interval():
    start, end = parse_start("2025-03-14"), parse_end("2025-03-14")
    check_interval(start, end)
    assert end.micros - start.micros == DAY


def test_an_open_interval_is_an_interval():
    some = parse_start("2025")
    check_interval(some, None)
    check_interval(None, some)
    check_interval(None, None)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-03-15", "2025-03-14"),
        ("2025-03-14T09:00Z", "2025-03-14T09:00Z"),
        ("2026", "2025-12"),
        ("2025-03-15", "2024"),
    ],
)
def test_an_interval_without_length_is_refused_with_both_ends_as_given(start, end):
    begun, ended = parse_start(start), parse_end(end)
    with pytest.raises(InputError) as caught:
        check_interval(begun, ended, what="validity")
    assert str(caught.value).startswith(
        f"validity: the end {ended} is not after the start {begun};"
    )
