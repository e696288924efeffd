"""Looking at networks with a probe: who may be looked at, what is asked of whom, and what a reader needs to know of it."""
