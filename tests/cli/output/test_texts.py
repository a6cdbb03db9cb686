from telemetry.cli.output.texts import in_ascii, plural


def test_one_is_singular() -> None:
    assert [plural(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_factor_is_readable_where_only_ascii_is_known() -> None:
    assert in_ascii("shrinks 7× per layer") == "shrinks 7x per layer"
