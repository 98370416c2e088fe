"""Batches from prompt files."""
