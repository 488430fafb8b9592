"""Sources become a corpus: read and cleaned in parts, by as many workers as there are, then joined without what repeats itself.

A finished part lies in the store until the corpus does: who is killed begins again with the parts that were at work.
"""
