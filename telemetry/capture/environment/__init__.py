"""Where a run was made: script, arguments, ranks, libraries, repository, process."""
