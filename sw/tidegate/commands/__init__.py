"""The verbs of the command line, by subject; everything heavy is imported inside a verb."""
