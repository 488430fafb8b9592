"""A model at work: it continues text."""
