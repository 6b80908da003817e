# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's server with the gaps closed that a deployment runs into.

By itself it is an account in memory. With --machines its instances are containers, which ask a metadata service of their own;
with --hosts-file the records of Route 53 resolve on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import ipaddress
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from moto import settings
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import ec2, enforcement, s3, services
from .hosts_file import HostsFile
from .machines import Machines
from .metadata import MetadataServer

ADMINISTRATOR = "administrator"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-H", "--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("-p", "--port", type=int, default=5580, help="port of the API")
    parser.add_argument("--machines", metavar="NETWORK", help="Docker network in which instances are containers")
    parser.add_argument("--image", default="drydock-test-host:debian12", help="image of these containers")
    parser.add_argument("--metadata-port", type=int, default=5581, help="port of their metadata service")
    parser.add_argument(
        "--public-network",
        type=ipaddress.IPv4Network,
        default="198.51.100.0/24",
        help="where their public addresses come from",
    )
    parser.add_argument("--hosts-file", type=Path, help="file for the address records of Route 53")
    parser.add_argument(
        "--administrator",
        type=Path,
        metavar="FILE",
        help="begin with an IAM user `administrator`, whose keys are written into this file, and enforce IAM's policies",
    )
    parser.add_argument("--region", default="eu-central-1", help="region that this file names")
    parser.add_argument("--pid-file", type=Path, help="file for the process's number, locked while it runs")
    parser.add_argument(
        "--log-file", type=Path, help="file for what would be printed, a line for each request among it"
    )
    return parser.parse_args(given)


@contextlib.contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """Hold a locked file with this process's number: whatever ends the process ends the lock."""
    with path.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def log_to(path: Path) -> None:
    """Send to a file what this process prints, and let go of what it was started with."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())


def patch(options: argparse.Namespace) -> None:
    """Close the gaps."""
    services.kms()
    services.iam()
    services.debian()
    s3.apply()
    ec2.gaps()
    enforcement.apply()
    if options.hosts_file:
        services.route53(HostsFile(options.hosts_file))


def begin_account(options: argparse.Namespace) -> None:
    """Make the first user, as there is one in every account, and let nobody in but users."""
    backend = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_user(region_name=options.region, user_name=ADMINISTRATOR, path="/", tags=[])
    backend.attach_user_policy("arn:aws:iam::aws:policy/AdministratorAccess", ADMINISTRATOR)
    key = backend.create_access_key(ADMINISTRATOR)
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    lines = (
        f"[profile {ADMINISTRATOR}]",
        f"region = {options.region}",
        f"endpoint_url = http://{options.host}:{options.port}",
        f"aws_access_key_id = {key.access_key_id}",
        f"aws_secret_access_key = {key.secret_access_key}",
    )
    with os.fdopen(os.open(options.administrator, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write("\n".join(lines) + "\n")


def serve_metadata(options: argparse.Namespace) -> None:
    """Make instances machines, and answer what they ask."""
    machines = Machines(options.machines, options.image, options.public_network)
    ec2.machines(ec2.Instances(machines), ec2.Addresses(options.public_network))
    server = MetadataServer((options.host, options.metadata_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> int:
    """Serve until SIGTERM."""
    options = arguments()
    with contextlib.ExitStack() as stack:
        if options.pid_file:
            stack.enter_context(pid_file(options.pid_file))
        patch(options)
        if options.machines:
            serve_metadata(options)
        if options.administrator:
            begin_account(options)
        application = DomainDispatcherApplication(create_backend_app)
        server = make_server(options.host, options.port, application, threaded=True, request_handler=MotoRequestHandler)

        def stop(_signal: int, _frame: FrameType | None) -> None:
            # From another thread, because it waits until the server has noticed.
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGTERM, stop)
        # Last, so that who starts it in the background sees why it does not start.
        if options.log_file:
            log_to(options.log_file)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
