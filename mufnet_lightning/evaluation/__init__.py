"""Scores to numbers, tables and figures: pure functions on arrays, without torch."""
