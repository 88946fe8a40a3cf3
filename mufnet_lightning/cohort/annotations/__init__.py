"""Boxes that were drawn in other programs: read in their formats, matched to clips, shown, written."""
