"""Files of trained networks, read as a ``golden.chain.FloatChain``; ``registry.read_network`` chooses by suffix."""
