"""The stages of the core: from frames to events, to jobs, to sums, to counts and decisions."""
