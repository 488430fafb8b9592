"""Where a thing came from: one chain from a running server back to the sources, and every hash of it checked again."""
