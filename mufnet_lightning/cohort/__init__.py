"""What a hospital has, read and checked: tables, clips, boxes."""
