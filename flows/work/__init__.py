"""What each stage does: the one place where `llm` and `infra` meet. Loaded only when a stage runs."""
