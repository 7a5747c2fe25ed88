"""What Schemathesis makes up is brought closer together, so that requests meet: few keys, early revisions,
times that are short. Only a value that is allowed is replaced, by another one that is allowed, so that what
was meant to be wrong stays wrong."""

import re

import schemathesis

KEYS = ["a", "0", "1", "greeting"]
TIMES = ["1ms", "100ms", "1s", "2s", "1m"]
LEASES = ["1", "2", "5", "-3"]
NUMBERS = {"revision", "if_version", "if_mod_revision", "from_revision"}


def pick(values, by):
    """One of the values, the same for the same text; or none of them, one time in so many."""
    place = sum(str(by).encode()) % (len(values) + 1)
    return values[place] if place < len(values) else by


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    key = (path_parameters or {}).get("key")
    if isinstance(key, str) and 0 < len(key.encode(errors="replace")) <= 4096:
        path_parameters["key"] = pick(KEYS, key)
    lease = (path_parameters or {}).get("lease")
    if re.fullmatch(r"-?[0-9]{1,18}", str(lease), re.ASCII) and int(lease) != 0:
        path_parameters["lease"] = pick(LEASES, lease)
    return path_parameters


@schemathesis.hook
def map_query(context, query):
    for name, value in (query or {}).items():
        if name == "timeout" and re.fullmatch(r"([0-9]+(ms|s|m|h))+", str(value), re.ASCII):
            query[name] = pick(TIMES, value)
        elif name in NUMBERS and type(value) is int and 0 < value < 2**64:
            query[name] = pick([1, 2, 3, 5], value)
        elif name == "lease" and type(value) is int and 0 < abs(value) < 2**63:
            query[name] = pick([1, 2, 5, -3], value)
    return query
