"""How fast it is: one file a case, beside peers where there are any. Ratios hold within one run, since load differs."""
