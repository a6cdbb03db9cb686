"""Numbers as the screens write them: 4 significant digits, `3m12s`, `41 MB`, `+3.1 %`."""

import math

from telemetry.json_values import Json

SIGNIFICANT_DIGITS = 4
# Between these magnitudes a number is written without an exponent.
FIXED_FROM, FIXED_BELOW = 1e-3, 1e5
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
NOTHING = "-"


def number(value: float | None) -> str:
    """A measured value with 4 significant digits; `-` when there is none."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{SIGNIFICANT_DIGITS - 1}e}".partition("e")
    if FIXED_FROM <= abs(value) < FIXED_BELOW:
        decimals = max(0, SIGNIFICANT_DIGITS - 1 - int(exponent))
        return f"{value:.{decimals}f}"
    return f"{mantissa}e{int(exponent)}"


def compact(value: float | None) -> str:
    """A value of few digits, for dense tables: `4.1e-1`; `-` when there is none."""
    if value is None or math.isnan(value):
        return NOTHING if value is None else "nan"
    if not math.isfinite(value):
        return str(value)
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def literal(value: Json) -> str:
    """A configured value as the user wrote it, numbers in their shortest form."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else NOTHING
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else str(value)
    return str(value)


def count(value: int) -> str:
    """An integer with its thousands apart: `10 000`."""
    return f"{value:,}".replace(",", " ")


def large_count(value: int) -> str:
    """A count in words a person compares: `312`, `85.2 k`, `6.9 M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"{value / scale:.1f} {unit}"
    return count(value)


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units: `212ms`, `3m12s`, `2h05m`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 1:
        return _below_a_second(seconds)
    if seconds < MINUTE_S:
        return f"{seconds:.1f}s" if round(seconds, 1) < MINUTE_S else "1m00s"
    whole = round(seconds)
    if whole < HOUR_S:
        return f"{whole // MINUTE_S}m{whole % MINUTE_S:02d}s"
    if whole < DAY_S:
        return f"{whole // HOUR_S}h{whole % HOUR_S // MINUTE_S:02d}m"
    return f"{whole // DAY_S}d{whole % DAY_S // HOUR_S:02d}h"


def _below_a_second(seconds: float) -> str:
    if seconds <= 0:
        return "0s"
    for factor, unit in ((1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g}{unit}" if seconds * factor < 999.5 else "1s"  # noqa: PLR2004 - rounds to the next unit
    return "<1us"


def age(seconds: float) -> str:
    """How long ago, in one unit: `14m`, `2h`, `3d`."""
    if seconds < MINUTE_S:
        return f"{max(0, int(seconds))}s"
    for limit, scale, unit in ((HOUR_S, MINUTE_S, "m"), (2 * DAY_S, HOUR_S, "h")):
        if seconds < limit:
            return f"{int(seconds // scale)}{unit}"
    return f"{int(seconds // DAY_S)}d"


def size(n_bytes: float) -> str:
    """A number of bytes: `812 B`, `2.9 kB`, `41 MB`."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= limit:
            scaled = n_bytes / limit
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"  # noqa: PLR2004 - two digits are enough
    return f"{n_bytes:.0f} B"


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage: `61 %`, `0.6 %`."""
    if share is None or math.isnan(share):
        return NOTHING
    scaled = 100 * share
    close = abs(scaled) < 10 and scaled != 0  # noqa: PLR2004 - one decimal below 10 %
    return f"{scaled:.1f} %" if close else f"{scaled:.0f} %"


def change(share: float | None) -> str:
    """A signed relative change: `+3.1 %`."""
    if share is None or math.isnan(share):
        return NOTHING
    if not math.isfinite(share):
        return f"{share:+}"
    return f"{100 * share:+.1f} %"


def steps(first: int | None, last: int | None) -> str:
    """A range of optimizer steps: `780-1 204`."""
    if first is None:
        return NOTHING if last is None else f"up to {count(last)}"
    if last is None or last == first:
        return count(first)
    return f"{count(first)}-{count(last)}"
