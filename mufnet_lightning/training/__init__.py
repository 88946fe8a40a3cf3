"""One run: what is trained, how it is recorded, how it ends."""
