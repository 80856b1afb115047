"""For suites of others: the tests that are known to fail, by name and with the reason, are held to be exactly those.

A file named in EXPECTED_FAILURES has a reason on a line that begins with `# `, and below it the tests that fail for it, as pytest
names them, from their class or function on. One that passes is a failure, and so is one that is not in the suite any more.
"""

import os

import pytest


def pytest_collection_modifyitems(items):
    by_name = {item.nodeid.split("::", 1)[1]: item for item in items}
    reason = None
    with open(os.environ["EXPECTED_FAILURES"], encoding="utf-8") as lines:
        for line in map(str.strip, lines):
            if line.startswith("# "):
                reason = line[2:]
            elif line and line not in by_name:
                raise pytest.UsageError(f"{line} is expected to fail and not in the suite")
            elif line:
                by_name[line].add_marker(pytest.mark.xfail(reason=reason, strict=True))
