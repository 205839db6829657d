"""Where a palace's rows live: the port, its stores, and the writer lock."""
