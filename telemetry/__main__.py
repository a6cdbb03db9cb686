"""`python -m telemetry` is the command `telemetry`."""

from telemetry.cli.main import main

if __name__ == "__main__":
    main()
