"""What runs beside a board: audio, feature front end, transports, link and ``Board``.  No torch, no amaranth."""
