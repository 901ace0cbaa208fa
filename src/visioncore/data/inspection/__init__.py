"""What is in a file or folder that somebody brings, and the data YAML that would read it."""
