"""What travels between the parts of the core: data layouts and signatures, without logic."""
