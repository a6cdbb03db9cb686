from telemetry.cli.output.texts import plural


def test_one_is_singular() -> None:
    assert [plural(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
