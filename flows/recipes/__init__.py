"""Recipes: what a flow is to do, one class a flow, from a preset, a YAML file, the command line or a form in the Prefect UI."""
