"""A look at a cohort folder or a crop store before anything is trained on it."""
