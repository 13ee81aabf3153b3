"""Benches of the cells."""
