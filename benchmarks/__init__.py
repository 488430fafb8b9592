"""One module a claim of speed or quality; LOG.md keeps what was tried, dated, also what did not work."""
