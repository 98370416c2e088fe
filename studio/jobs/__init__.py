"""The jobs of a server: accepted once, drawn one after another, never lost. Loads no torch."""
