"""Other people's shapes over Palatine's rules."""
