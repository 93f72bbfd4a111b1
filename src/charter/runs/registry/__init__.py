"""Which models were accepted: one file in the folder of the runs, and a separate copy of each accepted model."""
