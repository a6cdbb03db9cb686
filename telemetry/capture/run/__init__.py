"""One run being recorded: begun or resumed, wired to its observers, closed."""
