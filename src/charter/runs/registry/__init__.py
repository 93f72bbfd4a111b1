"""Which models were accepted: one file beside the runs, and a copy of each accepted model under a name of its own."""
