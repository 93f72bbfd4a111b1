"""What `make ui` starts: a Prefect server on this machine, a worker, and a watcher of constitutions."""
