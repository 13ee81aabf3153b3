"""What runs beside a board: audio, features, transports, link and ``Board``.  No torch, no amaranth."""
