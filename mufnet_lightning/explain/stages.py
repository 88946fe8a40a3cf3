"""The stages of the sanity check, in the order in which weights are drawn anew."""

STAGES = ("head", "head and last third", "head and last two thirds", "all weights")
