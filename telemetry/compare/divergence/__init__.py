"""The first step at which two runs differ, and why."""
