"""A bench without tests, which the runner must not take for success."""
