"""What judges a model: on clips, on hours of streams, and how sure a figure is."""
