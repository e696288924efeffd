"""Measurements beside peers: one file a case. Ratios are taken within one run, for machines and their load differ."""
