from datetime import datetime

from telemetry.capture.packet import HOST_ROW_BYTES, rows_packet
from telemetry.tables import table


def test_rows_on_the_host_become_a_table_with_the_types_of_their_schema() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - tables hold naive UTC
    packet = rows_packet(
        "metrics",
        [
            {"step": 0, "phase": "eval", "name": "a", "value": 1, "wall_time": now},
            {"step": 1, "phase": "eval", "name": "a"},
        ],
    )
    ((name, rows),) = packet.rows()
    assert name == "metrics"
    types = {column.name: column.arrow_type for column in table("metrics").columns}
    assert {field.name: field.type for field in rows.schema}.items() <= types.items()
    assert rows.column("value").to_pylist() == [1.0, None]
    assert rows.column("wall_time").to_pylist() == [now, None]
    assert packet.n_bytes == 2 * HOST_ROW_BYTES


def test_no_rows_are_no_table() -> None:
    assert list(rows_packet("metrics", []).rows()) == []
