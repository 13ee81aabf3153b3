"""cocotb benches, one module for each component; ``tests/rtl`` runs them."""
