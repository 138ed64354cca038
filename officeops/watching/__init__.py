"""The watcher: a round each minute, in a process of its own that needs no Prefect."""
