"""The web page and the HTTP doors (no torch in here)."""
