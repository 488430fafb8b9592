"""Targets on this machine: a model server behind HAProxy each, replaced while requests go on, and taken back in seconds."""
