"""Ten faults written after the rules were final, to see what the rules are worth."""

from origin_cases import Case

FRESH: tuple[Case, ...] = ()
