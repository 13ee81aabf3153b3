"""Tasks: what a network is trained for.  ``protocol`` says what a task has, ``registry`` finds one by its name."""
