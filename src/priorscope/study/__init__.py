"""A study: one file says what to compare, one command does what is missing."""
