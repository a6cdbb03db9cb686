"""Conditions that a user typed see these rows and nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest

from telemetry.errors import UsageError
from telemetry.store.user_sql.expressions import matching

ROWS = pa.table(
    {
        "m_time": ["night", "day", None, "night"],
        "confidence": [0.9, 0.8, 0.7, None],
        "m_odd name": [1, 2, 3, 4],
    }
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m_time = 'night'", [True, False, False, True]),
        ("m_time <> 'night'", [False, True, False, False]),
        ("m_time IS NULL OR confidence BETWEEN 0.75 AND 0.85", [False, True, True, False]),
        ("lower(M_TIME) LIKE 'n%' AND NOT confidence > 0.95", [True, False, False, False]),
        ('"m_odd name" IN (1, 4) -- the ends', [True, False, False, True]),
        ("CASE WHEN confidence > 0.75 THEN TRUE ELSE FALSE END", [True, True, False, False]),
        ("CAST(confidence * 10 AS INTEGER) = 9", [True, False, False, False]),
    ],
)
def test_a_condition_chooses_rows_and_unknown_is_no(expression: str, expected: list[bool]) -> None:
    assert matching(ROWS, expression).tolist() == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "cannot be used"),
        ("m_time = ", "syntax error"),
        ("m_time = 'x'; SELECT 1", "more than one statement"),
        ("m_time = 'x') OR (1 = 1", "syntax error"),
        ("TRUE, FALSE", "single expression"),
        ("m_tme = 'night'", "did you mean m_time?"),
        ("confidence", "gives DOUBLE, expected a condition"),
        ("m_time IN (SELECT 'night')", "subquery is not allowed"),
        ("count(*) > 1", "count_star is not allowed"),
        ("count(*) OVER () > 1", "window is not allowed"),
        ("read_text('/etc/hostname') = 'x'", "read_text is not allowed"),
        ("current_setting('threads') = '2'", "current_setting is not allowed"),
        ("m_time = $1", "parameter is not allowed"),
        ("m_time = 2", "Could not convert"),
    ],
)
def test_whatever_else_is_refused(expression: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be used|expected a condition") as refused:
        matching(ROWS, expression)
    assert words in str(refused.value)


def test_a_file_cannot_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(UsageError, match="not allowed"):
        matching(ROWS, f"EXISTS (FROM read_csv('{secret}'))")
