"""all-MiniLM-L6-v2: the embedding model that Palatine brings along."""
