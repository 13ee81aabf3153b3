"""Simulation of the gateware: cocotb benches and their runner, the virtual board, and golden against RTL."""
