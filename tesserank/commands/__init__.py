"""One module a command of the CLI: add_arguments(parser), run(args) -> exit status."""
