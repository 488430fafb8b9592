"""Tracking in MLflow by way of a local spool: training appends lines to a file, another process ships them."""
