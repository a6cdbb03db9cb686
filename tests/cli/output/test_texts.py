from telemetry.cli.output.texts import READABLE, plural


def test_one_is_singular() -> None:
    assert [plural(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_factor_is_readable_where_the_encoding_has_no_multiplication_sign() -> None:
    assert "7× \N{LATIN SMALL LETTER E WITH ACUTE}×".encode("ascii", READABLE) == b"7x \\xe9x"
    assert "7×".encode("utf-8", READABLE).decode() == "7×"
