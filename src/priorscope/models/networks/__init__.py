"""The blocks of the families that are ours: torch code, imported when a network is built."""
