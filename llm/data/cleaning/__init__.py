"""Cleaning: small pure steps over one shared split of each document. `Cleaner` in pipeline.py runs them in order."""
