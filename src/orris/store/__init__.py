"""The store: versions and aliases of bundles in a directory or a bucket; see ``store.py``."""

from orris.store.aliases import AliasRecord
from orris.store.references import Reference, as_version, check_alias, check_name, check_version
from orris.store.store import Store, VersionInfo, default_author, fetch_bundle, locate

__all__ = [
    "AliasRecord",
    "Reference",
    "Store",
    "VersionInfo",
    "as_version",
    "check_alias",
    "check_name",
    "check_version",
    "default_author",
    "fetch_bundle",
    "locate",
]
