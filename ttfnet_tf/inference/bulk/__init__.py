"""Detection on very many images: the list is split into shards, and each shard becomes one file, on one machine or many."""
