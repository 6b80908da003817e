# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's server with the gaps closed that a deployment runs into.

By itself it is an account in memory. With --machines its instances are containers, which ask a metadata service of their own, find
Route 53 under its name, and get certificates of a CA that asks the zones of Route 53; with --hosts-file the records of Route 53
resolve on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import ipaddress
import os
import signal
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import trustme
from moto import settings
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import acm, autoscaling, ec2, ecs, elbv2, enforcement, launch_templates, s3, services, target_health, zones
from .acme import Acme
from .balancers import Balancers
from .hosts_file import HostsFile
from .keeper import Keeper
from .keeper import apply as apply_keeper
from .machines import Machines
from .metadata import MetadataServer

ADMINISTRATOR = "administrator"
# What programs on the machines reach by its name, as they cannot be told another one: with old versions of botocore, all but S3.
NAMES = ("route53.amazonaws.com", "autoscaling.eu-central-1.amazonaws.com")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-H", "--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("-p", "--port", type=int, default=5580, help="port of the API")
    parser.add_argument("--machines", metavar="NETWORK", help="Docker network in which instances are containers")
    parser.add_argument("--image", default="drydock-test-host:debian12", help="image of these containers")
    parser.add_argument("--metadata-port", type=int, default=5581, help="port of their metadata service")
    parser.add_argument("--secure-port", type=int, default=5582, help="port of the API with TLS")
    parser.add_argument("--acme-port", type=int, default=5583, help="port of the CA's directory")
    parser.add_argument("--acme-management-port", type=int, default=5584, help="port where the CA says its root")
    parser.add_argument("--dns-port", type=int, default=5585, help="port of the name server that the CA asks")
    parser.add_argument(
        "--certificates",
        type=Path,
        metavar="FOLDER",
        help="folder for the certificates that others need: ca.crt, which signs for the ports with TLS, and acme_root.crt, the CA's",
    )
    parser.add_argument(
        "--domain", help="a name whose certificate, by that CA, is written there as domain.crt, its key as domain.key"
    )
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


def patch() -> None:
    """Close the gaps."""
    services.kms()
    services.iam()
    services.route53()
    services.debian()
    s3.apply()
    ec2.gaps()
    launch_templates.apply()
    elbv2.gaps()
    acm.gaps()
    autoscaling.gaps()
    ecs.gaps()
    enforcement.apply()


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


def serve_machines(options: argparse.Namespace, application: DomainDispatcherApplication) -> None:
    """Make instances machines, and answer what they ask."""
    ca = trustme.CA(organization_name="drydock rehearsal")
    ca.cert_pem.write_to_path(options.certificates / "ca.crt")
    if options.domain:
        certificate = ca.issue_cert(options.domain)
        certificate.cert_chain_pems[0].write_to_path(options.certificates / "domain.crt")
        key = options.certificates / "domain.key"
        key.touch(mode=0o600)
        key.write_bytes(certificate.private_key_pem.bytes())
    machines = Machines(
        options.machines,
        options.image,
        options.public_network,
        dict.fromkeys(NAMES, options.host),
        ca.cert_pem.bytes().decode(),
    )
    instances = ec2.Instances(machines)
    ec2.machines(instances, ec2.Addresses(options.public_network))
    health = target_health.TargetHealth()
    target_health.apply(health)
    keeper = Keeper(instances, health.state)
    apply_keeper(keeper)
    names_changed = zones.keep(HostsFile(options.hosts_file)) if options.hosts_file else lambda _names: None
    balancers = Balancers(machines, health, options.certificates, names_changed)
    for follow in (instances.watch, keeper.run, balancers.run):
        threading.Thread(target=follow, daemon=True).start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(options.host, *NAMES).configure_cert(context)
    for server in (
        MetadataServer((options.host, options.metadata_port)),
        zones.NameServer((options.host, options.dns_port)),
        make_server(
            options.host,
            options.secure_port,
            application,
            threaded=True,
            request_handler=MotoRequestHandler,
            ssl_context=context,
        ),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    Acme(options.host, options.acme_port, options.acme_management_port, options.dns_port).start(
        options.certificates, ca
    )


def main() -> int:
    """Serve until SIGTERM."""
    options = arguments()
    with contextlib.ExitStack() as stack:
        if options.pid_file:
            stack.enter_context(pid_file(options.pid_file))
        patch()
        application = DomainDispatcherApplication(create_backend_app)
        if options.machines:
            serve_machines(options, application)
        elif options.hosts_file:
            zones.keep(HostsFile(options.hosts_file))
        if options.administrator:
            begin_account(options)
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
