"""Public data sets → items.jsonl.gz, events.csv.gz and meta.json: a module a format, one writer for all."""
