"""Priorscope."""
