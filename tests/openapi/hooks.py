"""Hooks of schemathesis: https://schemathesis.readthedocs.io/en/stable/reference/hooks/

A link that it has inferred may take a whole object of an answer, such as the client of a
registration, for the parameter of that name in a path. It writes such a value into the path without
quoting it, so that a `#` or `?` in it cuts the path, and asks for another endpoint than it believes.
The id is meant.
"""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    for name, value in (case.path_parameters or {}).items():
        if isinstance(value, dict):
            case.path_parameters[name] = str(value.get("id", "none"))
