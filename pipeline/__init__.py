"""The program: command line, options, the graph. Nobody imports it."""
