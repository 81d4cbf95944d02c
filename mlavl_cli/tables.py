"""Tables by which parts plug in: a name, and where its code is, imported when it is asked for."""

from importlib import import_module
from typing import Any

from mlavl_cli.errors import UsageError


def look_up(table: dict[str, str], name: str, what: str) -> Any:
    """What stands behind a name as "module:attribute".

    Raises:
        UsageError: there is no such `what`.
    """
    if name not in table:
        raise UsageError(f"no such {what}: {name!r:.40}", hint=f"There are {', '.join(table)}.")
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)
