"""What trains: the loops, the losses, the teacher, checkpoints and logs."""
