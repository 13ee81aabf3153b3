"""What studies: plans of many runs, sweeps, their results, clusters."""
