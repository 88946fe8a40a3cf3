"""A study as one self-contained page: what was done, what came of it, what to read with care."""
