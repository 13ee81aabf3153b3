"""The contracts: formats, network, layout, registers and packets.  Plain Python and numpy, the only copy."""
