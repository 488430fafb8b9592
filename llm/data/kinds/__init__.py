"""Rows other than documents: instructions, preferences, labelled texts. Each kind reads any row of any source, or says why not."""
