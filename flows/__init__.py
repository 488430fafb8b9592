"""Prefect flows, one file each, the recipes that fill them in and the command line that starts them."""
