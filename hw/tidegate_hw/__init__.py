"""The delta-GRU core and its link in Amaranth."""
