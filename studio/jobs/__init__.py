"""The jobs of the server: kept in a store, drawn one after another."""
