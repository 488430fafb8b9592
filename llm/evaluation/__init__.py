"""What a model is worth: arithmetic on held-out text, beside rivals that need no GPU."""
