"""From documents to batches: sources, corpus, profile, token shards and the order in which a run reads them."""
