"""Where backups, logs and archives go."""

from officeops.store.port import ObjectExistsError, ObjectInfo, ObjectMissingError, Store, open_store

__all__ = ["ObjectExistsError", "ObjectInfo", "ObjectMissingError", "Store", "open_store"]
