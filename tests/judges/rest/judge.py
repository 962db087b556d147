"""Judges the REST API of the real program, over a site of two real databases."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager

from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

TOKEN = "a-token-of-the-judges-own"

# Nothing takes longer unless it hangs.
PATIENCE_S = 30
# But a site may install Postgres first.
INSTALLS_S = 300
FUZZING_S = 800

# The streams of events never end; one is judged by itself.
ENDLESS = "/api/v1/events"
ENDLESS_OF_TENANT = "/api/v1/tenants/{tenant_id}/events"

# The settings of a process that keeps one tenant, and of one whose answers have the form for several; and the paths that
# take any request which the description allows. Of several, most routes need a tenant in the path.
KEPT = {
    "one tenant": ({}, "."),
    "a list of tenants": ({"METER_SYNC_TENANTS": "7"}, "^/api/v1/tenants"),
}


@contextmanager
def site():
    """The environment of a program over a site."""
    with subprocess.Popen([os.environ["METER_SYNC_TEST_SITE"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            urls = json.loads(process.stdout.readline())
            yield {
                "METER_SYNC_REMOTE_URL": urls["remote_url"],
                "METER_SYNC_LOCAL_URL": urls["local_url"],
                "METER_SYNC_SCHEDULE": "off",
                "METER_SYNC_TOKENS": f"trigger:{TOKEN}",
                "METER_SYNC_LISTEN": "127.0.0.1:0",
            }
        finally:
            process.stdin.close()
            process.wait(PATIENCE_S)


@contextmanager
def served(settings):
    """The program over a site; gives its URL."""
    with tempfile.TemporaryFile("w+") as log:
        program = [os.environ["METER_SYNC"], "serve"]
        with subprocess.Popen(program, env=settings, stdin=subprocess.DEVNULL, stderr=log) as process:
            try:
                yield f"http://{address(process, log)}"
            finally:
                process.terminate()
                process.wait(PATIENCE_S)


def address(process, log):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        log.seek(0)
        text = log.read()
        if found := re.search(r"serving MCP.* address=(\S+)\n", text):
            return found[1]
        assert process.poll() is None, text
        time.sleep(0.02)
    raise TimeoutError(text)


def ask(url, method="GET", headers=()):
    headers = {"Authorization": f"Bearer {TOKEN}", **dict(headers)}
    request = urllib.request.Request(url, method=method, headers=headers)
    return urllib.request.urlopen(request, timeout=PATIENCE_S)


def is_valid_openapi(url, _paths):
    description = json.load(ask(f"{url}/api/v1/openapi.json"))
    assert description["openapi"].startswith("3.1."), description["openapi"]
    validate(description, cls=OpenAPIV31SpecValidator)
    # It must be able to fail.
    del description["info"]["title"]
    try:
        validate(description, cls=OpenAPIV31SpecValidator)
    except OpenAPIValidationError:
        return
    raise AssertionError("a wrong description passes")


def begins_its_events_with_a_status(url, _paths):
    with ask(f"{url}{ENDLESS}") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream", stream.headers
        fields = {}
        for line in stream:
            line = line.decode().rstrip("\n")
            if not line:
                break
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    assert fields["event"] == "status", fields
    status = json.loads(fields["data"])
    assert status["history"] or status["tenants"]["total"] == 1, fields


def stands_schemathesis(url, paths):
    command = [
        os.path.join(os.path.dirname(sys.executable), "st"),
        "run",
        f"{url}/api/v1/openapi.json",
        "--header", f"Authorization: Bearer {TOKEN}",
        "--include-path-regex", paths,
        "--exclude-path", ENDLESS,
        "--exclude-path", ENDLESS_OF_TENANT,
        "--checks", "all",
        "--max-examples", "100",
        "--seed", "7",
        "--request-timeout", str(PATIENCE_S),
        "--continue-on-failure",
        "--max-failures", "20",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=FUZZING_S)


def main():
    passed, failed = 0, 0
    judges = [is_valid_openapi, begins_its_events_with_a_status, stands_schemathesis]
    with site() as settings:
        for kept, (more, paths) in KEPT.items():
            with served(settings | more) as url:
                ask(f"{url}/api/v1/tenants/7/sync", "POST", {"Prefer": "wait=30"}).read()
                for judge in judges:
                    name = f"{judge.__name__.replace('_', ' ')} ({kept})"
                    try:
                        judge(url, paths)
                        passed += 1
                        print(f"ok {name}", flush=True)
                    except Exception as error:
                        failed += 1
                        print(f"FAILS {name}: {error!r}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed


sys.exit(main())
