# SPDX-License-Identifier: GPL-3.0-or-later
"""The production playbook from an empty account to a registry and back, against stand-ins for AWS on this machine.

All of it under IAM enforcement: who may not do something by a policy of ours is refused. The tests run in the order of this file.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import aws_controls
import pytest
from aws_account import changes, refusal
from aws_rehearsal import ACME_ROOT, ROOT, Rehearsal, rehearsal
from botocore.exceptions import ClientError
from counting import counted

NAME = "rehearsal-registry"
BUCKET = "example-prod-registry"
DOMAIN = "registry.rehearsal.test"
ACME_DAYS = 90
MIB = 2**20
# A part of a multipart upload is 10 MiB unless the configuration says otherwise, and the last one takes what is left over.
PARTS_OF_64_MIB = 6


class Answer(NamedTuple):
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: bytes


class Registry(NamedTuple):
    """How to reach the registry."""

    address: str
    login: str
    ca: Path

    def ask(self, method: str, path: str, body: bytes = b"", login: str | None = None, **headers: str) -> Answer:
        """Send one request, with the registry's certificate checked."""
        context = ssl.create_default_context(cafile=self.ca)
        token = base64.b64encode((login or self.login).encode()).decode()
        connection = http.client.HTTPSConnection(self.address, context=context, timeout=60)
        try:
            fields = {"Authorization": f"Basic {token}"} | {
                key.replace("_", "-"): text for key, text in headers.items()
            }
            connection.request(method, path, body or None, fields)
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): text for key, text in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def push_blob(self, repository: str, data: bytes) -> int:
        """Upload a blob; return the last status."""
        begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        if begun.status != 202:
            return begun.status
        where = begun.headers["location"].partition(self.address)[2]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return self.ask("PUT", f"{where}&digest={digest}", data, Content_Type="application/octet-stream").status

    def push_image(self, repository: str, tag: str, layer: bytes) -> str:
        """Upload an image of one layer; return the manifest's digest."""
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()
        for data in (layer, config):
            assert self.push_blob(repository, data) == 201
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor("application/vnd.oci.image.config.v1+json", config),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
            }
        ).encode()
        done = self.ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, Content_Type=MANIFEST)
        assert done.status == 201, done
        return done.headers["docker-content-digest"]

    def manifest(self, repository: str, reference: str, method: str = "GET") -> int:
        return self.ask(method, f"/v2/{repository}/manifests/{reference}", Accept=MANIFEST).status

    def blob(self, repository: str, data: bytes) -> Answer:
        return self.ask("GET", f"/v2/{repository}/blobs/sha256:{hashlib.sha256(data).hexdigest()}")


MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[Rehearsal]:
    """The stand-ins, with an empty account; nothing of them is left afterwards."""
    with rehearsal() as started:
        yield started


@pytest.fixture(scope="module")
def registry(rehearsed: Rehearsal) -> Registry:
    """The registry that the tests before this one made."""
    password = (rehearsed.credentials / "admin.password").read_text(encoding="utf-8").strip()
    return Registry(DOMAIN, f"admin:{password}", rehearsed.credentials / "ca.crt")


@pytest.fixture(scope="module")
def instance(rehearsed: Rehearsal) -> str:
    """The id of the host that the tests before this one made."""
    (found,) = instances(rehearsed, "running")
    return str(found["InstanceId"])


def instances(rehearsed: Rehearsal, *states: str) -> list[dict[str, Any]]:
    """Return the instances of the account in some states."""
    pages = rehearsed.administrator("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": states}]
    )
    return [found for reservation in pages["Reservations"] for found in reservation["Instances"]]


def made_by_us(rehearsed: Rehearsal) -> dict[str, list[str]]:
    """Return what the account holds of the kinds that the playbook makes."""
    ec2, iam, zones = (rehearsed.administrator(service) for service in ("ec2", "iam", "route53"))
    named = [{"Name": "group-name", "Values": [NAME]}]
    (zone,) = zones.list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    records = zones.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    found = {
        "instances": [each["InstanceId"] for each in instances(rehearsed, "pending", "running", "stopping", "stopped")],
        "addresses": [each["PublicIp"] for each in ec2.describe_addresses()["Addresses"]],
        "groups": [each["GroupId"] for each in ec2.describe_security_groups(Filters=named)["SecurityGroups"]],
        "endpoints": [
            each["VpcEndpointId"] for each in ec2.describe_vpc_endpoints()["VpcEndpoints"] if each["State"] != "deleted"
        ],
        "key pairs": [each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]],
        "roles": [each["RoleName"] for each in iam.list_roles()["Roles"] if NAME in each["RoleName"]],
        "policies": [
            each["PolicyName"] for each in iam.list_policies(Scope="Local")["Policies"] if NAME in each["PolicyName"]
        ],
        "profiles": [each["InstanceProfileName"] for each in iam.list_instance_profiles()["InstanceProfiles"]],
        # A zone comes with these two.
        "records": [f"{each['Type']} {each['Name']}" for each in records if each["Type"] not in {"NS", "SOA"}],
        "buckets": [each["Name"] for each in rehearsed.administrator("s3").list_buckets()["Buckets"]],
    }
    return {kind: names for kind, names in found.items() if names}


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return a run's output on one line, so that it does not matter where it was wrapped."""
    return " ".join((done.stdout + done.stderr).split())


@contextlib.contextmanager
def forbidden(rehearsed: Rehearsal, *actions: str) -> Iterator[None]:
    """Take actions from the one who runs the playbooks."""
    iam = rehearsed.administrator("iam")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": list(actions), "Resource": "*"}]}
    iam.put_user_policy(UserName="deployer", PolicyName="forbidden", PolicyDocument=json.dumps(document))
    try:
        yield
    finally:
        iam.delete_user_policy(UserName="deployer", PolicyName="forbidden")


def test_a_dry_run_on_an_empty_account_says_what_it_would_make(rehearsed: Rehearsal) -> None:
    done = rehearsed.play("site.yml", "--check")
    assert changes(done) > 5
    assert made_by_us(rehearsed) == {}
    for thing in (NAME, BUCKET, f"{NAME}-eu-central-1"):
        assert thing in said(done)
    assert "A run would make" in said(done)


def test_a_run_that_may_not_start_a_host_says_so_and_can_be_torn_down(rehearsed: Rehearsal) -> None:
    with forbidden(rehearsed, "ec2:RunInstances"):
        sentence = refusal(rehearsed.play("site.yml")).split("Report in one sentence")[-1]
    assert re.search(r"ec2:RunInstances[^.]*", sentence), sentence
    assert "buckets" in made_by_us(rehearsed)
    assert changes(rehearsed.play("teardown.yml")) > 0
    assert made_by_us(rehearsed) == {}


def test_one_run_makes_a_working_registry(rehearsed: Rehearsal, tmp_path: Path) -> None:
    with counted(rehearsed.users_environment, tmp_path) as tasks:
        done = rehearsed.play("site.yml")
    assert tasks.total() <= 70, tasks
    assert changes(done) > 20
    assert "The registry works" in said(done)
    made = made_by_us(rehearsed)
    assert {kind: len(names) for kind, names in made.items()} == dict.fromkeys(
        (
            "instances",
            "addresses",
            "groups",
            "endpoints",
            "key pairs",
            "roles",
            "policies",
            "profiles",
            "records",
            "buckets",
        ),
        1,
    )


class Served(NamedTuple):
    """The certificate that a client gets."""

    issuer: str
    names: list[str]
    serial: str
    days: int


def served(trusted: Path) -> Served:
    """Connect as a client does that trusts one CA; a connection that it would refuse fails here."""
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection((DOMAIN, 443), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=DOMAIN) as secure,
    ):
        found = cast("dict[str, Any]", secure.getpeercert())
    issuer = dict(pair for part in found["issuer"] for pair in part)
    first, last = (ssl.cert_time_to_seconds(found[name]) for name in ("notBefore", "notAfter"))
    return Served(
        issuer["commonName"],
        [name for _, name in found["subjectAltName"]],
        found["serialNumber"],
        round((last - first) / 86400),
    )


def changes_of_records(rehearsed: Rehearsal) -> int:
    """Return how often a machine, not this one, has asked Route 53 to change records."""
    return len(re.findall(r'^172\.31\.(?!0\.1 ).* "POST /\S+/rrset/ HTTP', rehearsed.api_log(), re.MULTILINE))


def test_the_certificate_is_of_a_ca_that_was_answered_in_route_53(rehearsed: Rehearsal) -> None:
    certificate = served(ACME_ROOT)
    assert certificate.issuer.startswith("Pebble Intermediate CA")
    assert certificate.names == [DOMAIN]
    assert certificate.days == ACME_DAYS
    # One record written and taken away again, by the host.
    assert changes_of_records(rehearsed) == 2
    assert made_by_us(rehearsed)["records"] == [f"A {DOMAIN}."]
    # Clients are given what to trust, as with every CA that they do not know by themselves.
    assert (rehearsed.credentials / "ca.crt").read_text(encoding="utf-8").strip() == ACME_ROOT.read_text(
        encoding="utf-8"
    ).strip()


def test_the_host_renews_by_itself(rehearsed: Rehearsal, instance: str) -> None:
    """The timer's service, on a certificate that is due, with nobody at the controller: ordered, proven, swapped, served."""
    before = served(ACME_ROOT)
    start = "sudo systemctl start certbot.service"
    rehearsed.ssh(instance, start)
    # It is not due.
    assert served(ACME_ROOT) == before
    assert changes_of_records(rehearsed) == 2
    # Due is what has fewer days left than this says, which is written anew after a renewal.
    due = "s/^renew_before_expiry.*/renew_before_expiry = 1000 days/"
    rehearsed.ssh(instance, f"sudo sed -i '{due}' /etc/letsencrypt/renewal/drydock.conf && {start}")
    renewed = served(ACME_ROOT)
    assert renewed.serial != before.serial
    assert renewed._replace(serial="") == before._replace(serial="")
    assert changes_of_records(rehearsed) == 4
    assert rehearsed.ssh(instance, "systemctl is-active certbot.timer").stdout.strip() == "active"


def test_a_second_run_changes_nothing(rehearsed: Rehearsal) -> None:
    """Also after a renewal that it knows nothing of."""
    assert changes(rehearsed.play("site.yml")) == 0
    assert changes_of_records(rehearsed) == 4


def test_a_dry_run_afterwards_changes_nothing(rehearsed: Rehearsal) -> None:
    assert changes(rehearsed.play("provision.yml", "--check", "--diff")) == 0


def test_the_dynamic_inventory_finds_the_host(rehearsed: Rehearsal, instance: str) -> None:
    done = rehearsed.run("ansible", "registry", "-m", "ansible.builtin.command", "-a", "hostname")
    assert done.returncode == 0, done.stderr
    assert NAME in done.stdout
    listed = json.loads(rehearsed.run("ansible-inventory", "--list").stdout)
    assert listed["registry"]["hosts"] == [NAME]
    # What comes from outside is marked as unsafe to template.
    assert listed["_meta"]["hostvars"][NAME]["instance_id"] == {"__ansible_unsafe": instance}


@pytest.mark.parametrize("number", aws_controls.CONTROLS)
def test_security_control(rehearsed: Rehearsal, instance: str, number: str) -> None:
    aws_controls.CONTROLS[number](deployment(rehearsed, instance))


def deployment(rehearsed: Rehearsal, instance: str) -> aws_controls.Deployment:
    """What the controls are asked about."""
    (found,) = instances(rehearsed, "running")
    return aws_controls.Deployment(
        client=rehearsed.administrator,
        bucket=BUCKET,
        role=f"{NAME}-eu-central-1",
        instance=instance,
        security_group=found["SecurityGroups"][0]["GroupId"],
        vpc=found["VpcId"],
    )


def test_no_static_key_is_on_the_host(rehearsed: Rehearsal, instance: str) -> None:
    """Neither what the deployer has nor any other key of IAM's, in files, containers or the environment of processes.

    certbot's log, which root alone can read, holds the ids and tokens of the role's keys with which it asked Route 53. Without the
    secret, which must not be there, they open nothing.
    """
    key, secret = rehearsed.environment["AWS_ACCESS_KEY_ID"], rehearsed.environment["AWS_SECRET_ACCESS_KEY"]
    roles_secret = rehearsed.role_keys(instance)["SecretAccessKey"]
    # What is looked for is not written on a command line, which sudo would log and the search then find.
    secrets = [re.escape(text) for text in (secret, roles_secret)]
    search_for = "sudo grep --recursive --files-with-matches --binary-files=text --extended-regexp --file=-"
    search = (
        f"printf '%s\\n' {shlex.join([*secrets, key, 'AKIA[A-Z0-9]{16}', 'ASIA[A-Z0-9]{16}'])} | {search_for}"
        " /etc /root /home /var/lib/drydock /var/lib/cloud /tmp /var/tmp /var/lib/docker/containers 2>/dev/null"
        f" ; printf '%s\\n' {shlex.join(secrets)} | {search_for} /var/log /var/lib/letsencrypt"
        " ; sudo find /var/log/letsencrypt -maxdepth 0 -perm /0077"
        " ; sudo cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep AWS_"
        " ; sudo docker inspect $(sudo docker ps --quiet) | grep -i -e AKIA -e accesskey -e secretkey -e AWS_"
    )
    assert rehearsed.ssh(instance, search, check=False).stdout == ""
    # The search can find something.
    rehearsed.ssh(instance, f"echo {key} > /tmp/planted")
    assert rehearsed.ssh(instance, search, check=False).stdout.split() == ["/tmp/planted"]  # noqa: S108
    rehearsed.ssh(instance, "rm /tmp/planted")


def test_metadata_answers_with_a_token_only(rehearsed: Rehearsal, instance: str) -> None:
    address = "http://169.254.169.254/latest"
    status = "curl --silent --output /dev/null --write-out '%{http_code}'"
    assert rehearsed.ssh(instance, f"{status} {address}/meta-data/instance-id").stdout == "401"
    token = f"TOKEN=$(curl --silent -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {address}/api/token)"
    found = rehearsed.ssh(
        instance, f'{token}; curl -s -H "X-aws-ec2-metadata-token: $TOKEN" {address}/meta-data/instance-id'
    )
    assert found.stdout == instance


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with one layer of 64 MiB that cannot be compressed, as `docker save` writes it."""
    folder = tmp_path_factory.mktemp("archive")
    layer = folder / "layer.tar"
    with tarfile.open(layer, mode="w") as tar:
        member = tarfile.TarInfo("payload")
        member.size = 64 * MIB
        tar.addfile(member, io.BytesIO(os.urandom(member.size)))
    run("docker", "import", layer, "drydock-test/rehearsal:1")
    run("docker", "save", "--output", folder / "image.tar", "drydock-test/rehearsal:1")
    run("docker", "image", "rm", "drydock-test/rehearsal:1")
    layer.unlink()
    return folder / "image.tar"


@pytest.fixture(scope="module")
def certificates(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as skopeo's --cert-dir wants it."""
    folder = tmp_path_factory.mktemp("certificates")
    shutil.copy(registry.ca, folder / "ca.crt")
    return folder


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a client, which has to succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def objects(rehearsed: Rehearsal) -> dict[str, int]:
    """Return the keys in the bucket, with their sizes in bytes."""
    pages = rehearsed.administrator("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}


def copy_and_compare(registry: Registry, certificates: Path, archive: Path, folder: Path, tag: str) -> str:
    """Push an archive with skopeo, pull it back, and compare every byte of the layers; return the biggest one's digest."""
    remote = f"docker://{DOMAIN}/team/big:{tag}"
    skopeo = ("skopeo", "copy", "--quiet")
    run(*skopeo, "--dest-cert-dir", certificates, "--dest-creds", registry.login, f"docker-archive:{archive}", remote)
    run(*skopeo, "--src-cert-dir", certificates, "--src-creds", registry.login, remote, f"dir:{folder}")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for part in manifest["layers"]:
        data = (folder / part["digest"].partition(":")[2]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == part["digest"].partition(":")[2]
    return str(max(manifest["layers"], key=lambda part: part["size"])["digest"])


def test_a_layer_of_64_mib_goes_to_s3_in_parts_and_comes_back(
    rehearsed: Rehearsal, registry: Registry, certificates: Path, archive: Path, tmp_path: Path
) -> None:
    before = rehearsed.api_log()
    digest = copy_and_compare(registry, certificates, archive, tmp_path, "direct")
    stored = {
        key: size
        for key, size in objects(rehearsed).items()
        if digest.partition(":")[2] in key and key.endswith("/data")
    }
    assert list(stored.values()) == [(tmp_path / digest.partition(":")[2]).stat().st_size]
    uploads = set(re.findall(r"PUT /\S+partNumber=(\d+)", rehearsed.api_log().removeprefix(before)))
    assert {str(number + 1) for number in range(PARTS_OF_64_MIB)} <= uploads
    # Nothing of it is left half uploaded, and a client is not sent to S3 unless that is wanted. What a registry begins to show that it can
    # write to its storage, the bucket's rules remove.
    begun = rehearsed.administrator("s3").list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    assert [upload["Key"] for upload in begun if "/team/big/" in upload["Key"]] == []
    assert registry.ask("GET", f"/v2/team/big/blobs/{digest}").status == 200


def test_docker_pulls_it(registry: Registry, tmp_path: Path) -> None:
    trust = Path("/etc/docker/certs.d") / DOMAIN
    trust.mkdir(parents=True)
    try:
        shutil.copy(registry.ca, trust / "ca.crt")
        docker = ("docker", "--config", tmp_path)
        user, _, password = registry.login.partition(":")
        login = subprocess.run(
            [*map(str, docker), "login", "--username", user, "--password-stdin", DOMAIN],
            input=password,
            text=True,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert login.returncode == 0, login.stderr
        run(*docker, "pull", f"{DOMAIN}/team/big:direct")
        run("docker", "image", "rm", f"{DOMAIN}/team/big:direct")
    finally:
        shutil.rmtree(trust)


def test_strangers_stay_outside(registry: Registry) -> None:
    for login in ("admin:wrong", "nobody:x", ":"):
        assert registry.ask("GET", "/v2/", login=login).status == 401
        assert registry.ask("POST", "/v2/team/big/blobs/uploads/", login=login).status == 401


def test_deleted_images_leave_the_bucket(rehearsed: Rehearsal, registry: Registry) -> None:
    kept, gone = os.urandom(1000), os.urandom(1000)
    registry.push_image("team/kept", "1", kept)
    digest = registry.push_image("team/gone", "1", gone)
    assert registry.manifest("team/gone", digest, "DELETE") == 202
    assert registry.manifest("team/gone", "1") == 404
    with maintainer(rehearsed):
        # From this machine, without waiting: first its links go, then the layer.
        at_once = ("-e", "registry_maintenance_wait_hours=0", "-e", "registry_maintenance_second_look_seconds=0")
        planned = rehearsed.play("storage_collect.yml", *at_once)
        assert changes(planned) == 0
        assert "Nothing was changed" in said(planned)
        assert stored(rehearsed, gone)
        done = rehearsed.play("storage_collect.yml", *at_once, "-e", "drydock_storage_apply=true")
        assert changes(done) == 1
        answer = maintain(rehearsed, "collect", "--apply")
        assert answer["last_check"]["missed"] == []
        assert answer["last_check"]["asked"] > 0
    assert not stored(rehearsed, gone)
    assert registry.blob("team/kept", kept).body == kept


def stored(rehearsed: Rehearsal, data: bytes) -> bool:
    """Tell whether the bucket holds a blob."""
    digest = hashlib.sha256(data).hexdigest()
    return f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data" in objects(rehearsed)


@contextlib.contextmanager
def maintainer(rehearsed: Rehearsal, without: str = "") -> Iterator[None]:
    """Give the one who runs the playbooks what our policy for the storage's maintenance allows, or all but one action of it."""
    document = json.loads((ROOT / "docs/aws-maintenance-policy.json").read_text(encoding="utf-8"))
    for statement in document["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != without]
    iam = rehearsed.administrator("iam")
    iam.put_user_policy(UserName="deployer", PolicyName="maintenance", PolicyDocument=json.dumps(document))
    try:
        yield
    finally:
        iam.delete_user_policy(UserName="deployer", PolicyName="maintenance")


def maintain(rehearsed: Rehearsal, *command: str) -> dict[str, Any]:
    """Run the program as the playbook has it, and with what that one has left; return its answer."""
    settings = rehearsed.credentials / f"storage/{BUCKET}/settings.json"
    done = subprocess.run(
        [sys.executable, "-m", "drydock_store", "--config", settings, "--json", *command],
        env={**os.environ, **rehearsed.environment, "PYTHONPATH": str(ROOT / "roles/registry_maintenance/files")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return {"status": done.returncode, **answer}


@pytest.mark.parametrize(
    "action", ["ListBucket", "ListBucketVersions", "GetBucketVersioning", "GetObject", "PutObject", "DeleteObject"]
)
def test_the_storage_cannot_be_kept_in_order_without(rehearsed: Rehearsal, registry: Registry, action: str) -> None:
    digest = registry.push_image("team/least", "collected", os.urandom(1000))
    assert registry.manifest("team/least", digest, "DELETE") == 202
    # What a deployment needs has some of these as well.
    with maintainer(rehearsed, f"s3:{action}"), forbidden(rehearsed, f"s3:{action}"):
        answer = maintain(rehearsed, "collect", "--apply")
    assert answer["status"] == 3
    assert f"s3:{action}" in answer["error"]


# What the registry cannot do without an action of its policy. AbortMultipartUpload is missing here: this API does not ask for it.
REFUSED_PUSH = (
    "ListBucket",
    "ListBucketMultipartUploads",
    "PutObject",
    "PutObjectAcl",
    "GetObject",
    "ListMultipartUploadParts",
)


@contextlib.contextmanager
def policy_without(rehearsed: Rehearsal, action: str) -> Iterator[None]:
    """Take one action from the registry's role."""
    iam = rehearsed.administrator("iam")
    (arn,) = (each["Arn"] for each in iam.list_policies(Scope="Local")["Policies"] if NAME in each["PolicyName"])
    first = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=first)["PolicyVersion"]["Document"]
    found = 0
    for statement in document["Statement"]:
        before = len(statement["Action"])
        statement["Action"] = [each for each in statement["Action"] if each != f"s3:{action}"]
        found += before - len(statement["Action"])
    assert found == 1, document
    document["Statement"] = [statement for statement in document["Statement"] if statement["Action"]]
    version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
    try:
        yield
    finally:
        iam.set_default_policy_version(PolicyArn=arn, VersionId=first)
        iam.delete_policy_version(PolicyArn=arn, VersionId=version["PolicyVersion"]["VersionId"])


@pytest.mark.parametrize("action", REFUSED_PUSH)
def test_no_push_without(rehearsed: Rehearsal, registry: Registry, action: str) -> None:
    # More than one part, so that parts are listed when the upload goes on.
    with policy_without(rehearsed, action):
        assert registry.push_blob("team/least", os.urandom(11 * MIB)) >= 500
    assert registry.push_blob("team/least", os.urandom(MIB)) == 201


def test_no_pull_without_get_object(rehearsed: Rehearsal, registry: Registry) -> None:
    layer = os.urandom(1000)
    registry.push_image("team/least", "pull", layer)
    with policy_without(rehearsed, "GetObject"):
        assert registry.manifest("team/least", "pull") >= 400
    assert registry.manifest("team/least", "pull") == 200


def test_no_delete_without_delete_object(rehearsed: Rehearsal, registry: Registry) -> None:
    """The registry says that it deleted, and does not notice that it could not: what counts is what is there afterwards."""
    digest = registry.push_image("team/least", "delete", os.urandom(1000))
    with policy_without(rehearsed, "DeleteObject"):
        registry.manifest("team/least", digest, "DELETE")
    assert registry.manifest("team/least", "delete") == 200
    registry.manifest("team/least", digest, "DELETE")
    assert registry.manifest("team/least", "delete") == 404


def test_the_role_may_do_nothing_else(rehearsed: Rehearsal, instance: str) -> None:
    """With the credentials that the host gets: other buckets, other keys, other services."""
    rehearsed.administrator("s3").create_bucket(
        Bucket="someone-elses", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    try:
        s3, ec2, iam = (rehearsed.role_client(instance, service) for service in ("s3", "ec2", "iam"))
        s3.put_object(Bucket=BUCKET, Key="docker/registry/v2/probe", Body=b"x")
        s3.delete_object(Bucket=BUCKET, Key="docker/registry/v2/probe")
        for attempt in (
            lambda: s3.put_object(Bucket=BUCKET, Key="elsewhere/probe", Body=b"x"),
            lambda: s3.get_object(Bucket=BUCKET, Key="elsewhere/probe"),
            lambda: s3.delete_object(Bucket=BUCKET, Key="docker/other"),
            lambda: s3.put_object(Bucket="someone-elses", Key="docker/registry/v2/probe", Body=b"x"),
            lambda: s3.list_objects_v2(Bucket="someone-elses"),
            s3.list_buckets,
            lambda: s3.delete_bucket(Bucket=BUCKET),
            lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}),
            lambda: s3.get_bucket_policy(Bucket=BUCKET),
            lambda: s3.delete_bucket_policy(Bucket=BUCKET),
            ec2.describe_instances,
            iam.list_users,
            lambda: iam.get_role(RoleName=f"{NAME}-eu-central-1"),
        ):
            with pytest.raises(Exception, match=r"AccessDenied|UnauthorizedOperation|Forbidden|403"):
                attempt()
    finally:
        rehearsed.administrator("s3").delete_bucket(Bucket="someone-elses")


def test_the_role_changes_the_records_of_its_own_challenges_alone(rehearsed: Rehearsal, instance: str) -> None:
    """With the credentials that the host gets: other names, types, zones; what is there already, too."""
    administrator = rehearsed.administrator("route53")
    route53 = rehearsed.role_client(instance, "route53")
    (zone,) = administrator.list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    other = administrator.create_hosted_zone(Name="other.test", CallerReference="test")["HostedZone"]
    challenge = f"_acme-challenge.{DOMAIN}"

    def change(*changes_: tuple[str, str, str, str], zone_id: str = zone["Id"]) -> None:
        batch = [
            {
                "Action": action,
                "ResourceRecordSet": {"Name": name, "Type": kind, "TTL": 10, "ResourceRecords": [{"Value": value}]},
            }
            for action, name, kind, value in changes_
        ]
        route53.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": batch})

    before = administrator.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    (address,) = (each["ResourceRecords"][0]["Value"] for each in before if each["Type"] == "A")
    try:
        change(("UPSERT", challenge, "TXT", '"x"'))
        change(("DELETE", challenge, "TXT", '"x"'))
        for attempt in (
            [("UPSERT", DOMAIN, "A", "192.0.2.1")],
            [("DELETE", DOMAIN, "A", address)],
            [("UPSERT", DOMAIN, "TXT", '"x"')],
            [("UPSERT", challenge, "CNAME", "elsewhere.example.com")],
            [("UPSERT", challenge, "NS", "ns.example.com")],
            [("CREATE", challenge, "TXT", '"x"')],
            [("UPSERT", "_acme-challenge.rehearsal.test", "TXT", '"x"')],
            [("UPSERT", f"sub.{challenge}", "TXT", '"x"')],
            # One that is allowed does not carry another.
            [("UPSERT", challenge, "TXT", '"x"'), ("UPSERT", DOMAIN, "TXT", '"x"')],
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                change(*attempt)
        with pytest.raises(ClientError, match="AccessDenied"):
            change(("UPSERT", "_acme-challenge.other.test", "TXT", '"x"'), zone_id=other["Id"])
        for call, zone_id in (
            ("list_resource_record_sets", {"HostedZoneId": zone["Id"]}),
            ("get_hosted_zone", {"Id": zone["Id"]}),
            ("delete_hosted_zone", {"Id": other["Id"]}),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                getattr(route53, call)(**zone_id)
        assert administrator.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"] == before
    finally:
        administrator.delete_hosted_zone(Id=other["Id"])


def test_with_redirects_clients_fetch_layers_from_s3(
    rehearsed: Rehearsal, registry: Registry, certificates: Path, archive: Path, tmp_path: Path
) -> None:
    done = rehearsed.play("configure.yml", "--tags", "server", "-e", "registry_server_redirect_enabled=true")
    assert changes(done) > 0
    digest = copy_and_compare(registry, certificates, archive, tmp_path, "redirected")
    answer = registry.ask("GET", f"/v2/team/big/blobs/{digest}")
    assert answer.status == 307
    assert answer.headers["location"].startswith(
        f"{rehearsed.environment['AWS_ENDPOINT_URL']}/{BUCKET}/docker/registry/v2/blobs/"
    )
    assert "X-Amz-Signature=" in answer.headers["location"]
    assert registry.ask("GET", f"/v2/team/big/blobs/{digest}", login="admin:wrong").status == 401


def answers(registry: Registry) -> bool:
    """Wait until the registry answers; a host that boots takes some seconds."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if registry.ask("GET", "/v2/").status == 200:
                return True
        time.sleep(0.5)
    return False


def test_another_type_is_the_same_host(rehearsed: Rehearsal, registry: Registry, instance: str) -> None:
    done = rehearsed.play("provision.yml", "-e", "aws_instance_type=t4g.medium")
    assert changes(done) == 1
    assert f"{instance} stops" in said(done)
    (found,) = instances(rehearsed, "running")
    assert (found["InstanceId"], found["InstanceType"]) == (instance, "t4g.medium")
    assert answers(registry)


def test_a_replaced_host_has_its_images(rehearsed: Rehearsal, registry: Registry, instance: str) -> None:
    layer = os.urandom(1000)
    registry.push_image("team/survivor", "1", layer)
    (address,) = rehearsed.administrator("ec2").describe_addresses()["Addresses"]
    done = rehearsed.play("site.yml", "-e", "aws_instance_type=t4g.medium", "-e", f"aws_instance_replace={instance}")
    assert changes(done) > 20
    assert "The registry works" in said(done)
    (found,) = instances(rehearsed, "running")
    assert found["InstanceId"] != instance
    assert found["PublicIpAddress"] == address["PublicIp"]
    assert len(rehearsed.containers()) == 1
    # The run reached it, so its key is the one that its console showed.
    assert found["InstanceId"] in (rehearsed.credentials / "known_hosts").read_text(encoding="utf-8")
    assert registry.blob("team/survivor", layer).body == layer


def test_teardown_refuses_while_the_bucket_holds_images(rehearsed: Rehearsal) -> None:
    before = made_by_us(rehearsed)
    for arguments in ((), ("-e", "drydock_teardown_bucket=another-bucket")):
        sentence = refusal(rehearsed.play("teardown.yml", *arguments))
        assert "drydock_teardown_bucket" in sentence or "aws_storage_remove_images" in sentence
        assert BUCKET in sentence
    assert made_by_us(rehearsed) == before


def test_teardown_leaves_nothing(rehearsed: Rehearsal) -> None:
    assert changes(rehearsed.play("teardown.yml", "-e", f"drydock_teardown_bucket={BUCKET}")) > 5
    assert made_by_us(rehearsed) == {}
    assert rehearsed.containers() == []
    assert DOMAIN not in Path("/etc/hosts").read_text(encoding="utf-8")
    assert changes(rehearsed.play("teardown.yml", "-e", f"drydock_teardown_bucket={BUCKET}")) == 0
