"""Recipes out of the pictures of other tools. Loads no torch."""

from studio.importing.reading import Imported, read_any

__all__ = ["Imported", "read_any"]
