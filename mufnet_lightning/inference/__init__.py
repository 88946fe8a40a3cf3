"""A trained model, used."""
