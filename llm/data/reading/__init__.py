"""Sources of rows, one grammar for all: `inspect` looks at one, `rows` reads it as a whole, by files or by spans."""
