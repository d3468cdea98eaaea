"""What `init` sees in a project, and what it makes of it. None of the project's code is run, and nothing is written."""
