"""Times as Palatine keeps them: moments in UTC that remember how precisely they were given.

Text becomes an `Instant` here and nowhere else. Intervals are half-open, `[start, end)`; an end
that is given as a year, month or day means *through* it (docs/decisions/0002).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum

from palatine.errors import InputError


class Precision(StrEnum):
    """How precisely a time was given."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"
    INSTANT = "instant"


_PRECISIONS = (Precision.INSTANT, Precision.DAY, Precision.MONTH, Precision.YEAR)
_CODES = {precision: code for code, precision in enumerate(_PRECISIONS)}
_PRINTED_CHARS = {Precision.DAY: 10, Precision.MONTH: 7, Precision.YEAR: 4}
_END = 4

_MICRO = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICRO
_MAX = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICRO

_FORM = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"([Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?)?)?",
    re.ASCII,
)
_FORMS = (
    "give a time like 2025, 2025-03, 2025-03-14, 2025-03-14T09:26:53Z or 2025-03-14T09:26:53+01:00"
)


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment in UTC with the precision it was given; prints as it was given.

    Equal only when all fields are; compare `micros` to order them. With a precision other than
    `INSTANT`, `micros` is the first moment of a year, month or day.

    Attributes:
        micros: microseconds since 1970-01-01T00:00:00Z, negative before.
        is_end: an exclusive end that prints as the period it closes: through 2025-03-14 is the
            midnight after it.
    """

    micros: int
    precision: Precision = Precision.INSTANT
    is_end: bool = False

    def __post_init__(self) -> None:
        """Refuses what could not be printed."""
        if not _MIN <= self.micros <= _MAX:
            raise InputError(f"{self.micros} microseconds are outside the years 1 to 9998")
        if self.is_end and self.precision is Precision.INSTANT:
            raise InputError("an exact instant is an end as it is; leave is_end out")

    def __str__(self) -> str:
        """The time as text that `parse_start` or, for an end, `parse_end` reads back."""
        moment = self.at - _MICRO if self.is_end else self.at
        day = moment.date().isoformat()
        if self.precision is Precision.INSTANT:
            return f"{day}T{moment.time().isoformat()}Z"
        return day[: _PRINTED_CHARS[self.precision]]

    @property
    def at(self) -> datetime:
        """The moment as an aware datetime in UTC."""
        return _EPOCH + timedelta(microseconds=self.micros)

    @property
    def code(self) -> int:
        """Precision and `is_end` as a small number, for `from_code`; 0 is an exact instant."""
        return _CODES[self.precision] + (_END if self.is_end else 0)

    @classmethod
    def from_code(cls, micros: int, code: int) -> Instant:
        """The instant that has these `micros` and this `code`."""
        if not 0 <= code < 2 * _END:
            raise InputError(f"{code} is no code of a time's precision; they go from 0 to 7")
        return cls(micros, _PRECISIONS[code % _END], is_end=code >= _END)


Time = str | date | datetime | Instant
"""What is accepted as a time. Text and datetimes without an offset are taken as UTC; fractions of
a second are cut to microseconds; an `Instant` means what it prints."""


def now() -> Instant:
    """This moment by the system's clock, which may step back."""
    return Instant(time.time_ns() // 1000)


def parse_start(value: Time | None, *, what: str = "time") -> Instant | None:
    """The first moment of the year, month, day or instant given; None stays None.

    Args:
        value: the time; without an offset it is UTC.
        what: what the time is, for the message.

    Raises:
        InputError: it is no time, or outside the years 1 to 9998.
    """
    period = parse_period(value, what=what)
    return None if period is None else period[0]


def parse_end(value: Time | None, *, what: str = "time") -> Instant | None:
    """The exclusive end: after the year, month or day given, or exactly at the instant given.

    Args:
        value: the time; without an offset it is UTC.
        what: what the time is, for the message.

    Raises:
        InputError: it is no time, or outside the years 1 to 9998.
    """
    period = parse_period(value, what=what)
    if period is None:
        return None
    return period[0] if period[0].precision is Precision.INSTANT else period[1]


def parse_period(value: Time | None, *, what: str = "time") -> tuple[Instant, Instant] | None:
    """The half-open period given: a year, month or day whole, an instant as one microsecond.

    Args:
        value: the time; without an offset it is UTC.
        what: what the time is, for the message.

    Raises:
        InputError: it is no time, or outside the years 1 to 9998.
    """
    if value is None:
        return None
    try:
        moment, precision = _read(value)
        micros = (moment - _EPOCH) // _MICRO
        if not _MIN <= micros < _MAX:
            raise ValueError("the year must be 1 to 9998")
    except (ValueError, OverflowError) as error:
        raise InputError(f"{what} {value!r:.80} cannot be used: {error}; {_FORMS}") from None
    if precision is Precision.INSTANT:
        return Instant(micros), Instant(micros + 1)
    after = (_next(moment, precision) - _EPOCH) // _MICRO
    return Instant(micros, precision), Instant(after, precision, is_end=True)


def _read(value: object) -> tuple[datetime, Precision]:
    """The aware start of what was given; raises ValueError with the reason."""
    if isinstance(value, str):
        return _read_text(value.strip())
    if isinstance(value, Instant):
        return _read_text(str(value))
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC), Precision.INSTANT
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC), Precision.DAY
    raise ValueError(f"it is no text, date or datetime but {type(value).__name__}")


def _read_text(text: str) -> tuple[datetime, Precision]:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("it is empty" if not text else "it has none of the known forms")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    moment = datetime(
        int(year),
        int(month or 1),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "")[:6].ljust(6, "0")),
        tzinfo=_zone(offset),
    )
    if hour:
        return moment, Precision.INSTANT
    if day:
        return moment, Precision.DAY
    return moment, Precision.MONTH if month else Precision.YEAR


def _zone(offset: str | None) -> timezone:
    if offset is None or offset in "Zz":
        return UTC
    east = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:].lstrip(":") or 0))
    return timezone(-east if offset[0] == "-" else east)


def _next(start: datetime, precision: Precision) -> datetime:
    if precision is Precision.YEAR:
        return start.replace(year=start.year + 1)
    if precision is Precision.MONTH:
        return (start + timedelta(days=31)).replace(day=1)
    return start + timedelta(days=1)


def as_end(instant: Instant) -> Instant:
    """The exclusive end of what stops when `instant` begins; the same moment.

    What stops when 2025-03-15, 2025-03 or 2025 begins ends with, and prints as, 2025-03-14,
    2025-02 or 2024.
    """
    if instant.precision is Precision.INSTANT or instant.is_end:
        return instant
    if instant.micros == _MIN:  # nothing comes before it that could be printed
        return Instant(_MIN)
    return Instant(instant.micros, instant.precision, is_end=True)


def check_interval(start: Instant | None, end: Instant | None, *, what: str = "interval") -> None:
    """Refuses an interval without length; None is open.

    Raises:
        InputError: the end is not after the start.
    """
    if start is not None and end is not None and end.micros <= start.micros:
        raise InputError(
            f"{what}: the end {end} is not after the start {start};"
            " give a later end, or leave it out"
        )
