"""Statements around DuckDB: is it one SELECT, which names does it read, whose fault is an error."""

import duckdb

from telemetry.errors import UsageError
from telemetry.store.sessions import sql
from telemetry.store.sessions.binding import known_names

READING_WORDS = ("SELECT", "WITH", "FROM", "VALUES", "SHOW", "DESCRIBE", "SUMMARIZE", "TABLE", "(")
NEAR_NAMES = "Candidate bindings"
# The statement is at fault, or the limits; any other error may come from a shard.
MISTAKES = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.InterruptException,
    duckdb.NotImplementedException,
    duckdb.OutOfMemoryException,
    duckdb.ParserException,
    duckdb.PermissionException,
    duckdb.SyntaxException,
    duckdb.TypeMismatchException,
)


def one_select(connection: duckdb.DuckDBPyConnection, statement: str) -> duckdb.Statement:
    """The statement, if it is exactly one SELECT; that it only reads is the connection's business.

    Raises:
        UsageError: it cannot be parsed, or is none, several, or of another type.
    """
    try:
        found = connection.extract_statements(statement)
    except duckdb.Error as error:
        raise UsageError(first_line(error)) from error
    if len(found) != 1:
        raise UsageError(f"expected one statement, got {len(found)}.")
    word = sql.first_word(statement)
    # DuckDB 1.5 classes `PRAGMA database_list` as SELECT, hence the word as well.
    if found[0].type != duckdb.StatementType.SELECT or word not in READING_WORDS:
        raise UsageError(
            f"{word or found[0].type.name} is refused: only {', '.join(READING_WORDS[:-1])} can "
            "read runs. PIVOT works as `FROM (PIVOT ... ON column IN (...) USING ...)`."
        )
    return found[0]


def referenced_names(connection: duckdb.DuckDBPyConnection, statement: str) -> set[str]:
    """Known names that a statement reads; never too few, seldom too many."""
    try:
        found = connection.get_table_names(sql.without_parameters(statement))
    except duckdb.Error:
        # PIVOT inside FROM, functions that would open a file, or a mistake that DuckDB will name.
        return sql.mentioned(statement, known_names())
    return {name.lower() for name in found} & known_names()


def first_line(error: Exception) -> str:
    """The message of an error without the lines that draw the place."""
    return str(error).split("\n", 1)[0]


def is_out_of_memory(error: Exception) -> bool:
    """Whether DuckDB has hit its limit of memory; pyarrow raises that as an error of its own."""
    return isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in first_line(error)


def mistake(error: duckdb.Error) -> str:
    """What is wrong with a statement, the names that are near, and where all names are listed."""
    said = first_line(error)
    near = [line for line in str(error).split("\n") if line.startswith(NEAR_NAMES)]
    if not isinstance(error, duckdb.BinderException) or not near:
        return said
    names = near[0].partition(": ")[2].lstrip(": ")
    return f"{said} Near: {names}. `telemetry query --schema VIEW` names the columns of a view."
