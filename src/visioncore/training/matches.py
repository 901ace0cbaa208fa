"""Which unit is which from one day to another: a table that users bring."""

import csv
from pathlib import Path

from visioncore.errors import DataError
from visioncore.model import Twin
from visioncore.provenance import UnitMatch

COLUMNS = tuple(UnitMatch.model_fields)


def read_matches(path: Path, new: Twin, old: Twin) -> tuple[UnitMatch, ...]:
    """Units of `new` and what they are called in `old`, of a CSV with the columns `COLUMNS`; others are left alone.

    Raises:
        DataError: the file is missing or no such table, names a session or unit that is not there, or one twice.
    """
    expected = f"expected a CSV with the columns {', '.join(COLUMNS)}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows, found = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {expected}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not readable as text ({error}); {expected}") from None
    if lacking := [name for name in COLUMNS if name not in found]:
        raise DataError(f"{path}: lacks the column {lacking[0]!r}; it has {', '.join(found) or 'none'}")
    if not rows:
        raise DataError(f"{path}: has no row; {expected}")
    matches: list[UnitMatch] = []
    seen: set[tuple[str, str, str]] = set()
    for line, row in enumerate(rows, start=2):
        match = UnitMatch(**{name: row[name] or "" for name in COLUMNS})
        for which, twin, session, unit in (
            ("the new recording", new, match.session, match.unit_id),
            ("the twin", old, match.matched_session, match.matched_unit_id),
        ):
            where, what = f"{path}, line {line}", f"unit {unit!r} of session {session!r}"
            if session not in twin.sessions or unit not in twin.unit_ids(session):
                raise DataError(f"{where}: {which} has no {what}")
            if (which, session, unit) in seen:
                raise DataError(f"{where}: {what} is matched twice")
            seen.add((which, session, unit))
        matches.append(match)
    return tuple(matches)
