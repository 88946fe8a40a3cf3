"""What a hospital has (tables, clips, boxes) becomes a crop store."""
