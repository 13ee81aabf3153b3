"""Models as files of other programs; ``nir_file.py`` writes spiking networks."""
