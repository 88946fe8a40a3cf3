"""The crop store: made from a cohort folder, read as pixels."""
