# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet behind a load balancer, from an empty account to nothing left, with what befalls it in between.

Hosts are machines that set themselves up at boot from what the account holds; haproxy plays the load balancer, and what keeps the group
is the stand-ins'. The tests run in the order of this file. How many requests fail in an event is printed and recorded with its test;
what may not fail at all is asserted. So are no times.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import aws_controls
import aws_platform_controls
import botocore.exceptions
import pytest
from aws_account import changes
from aws_rehearsal import Rehearsal, finished, rehearsal
from counting import counted
from fleet import (
    BUCKET,
    DOMAIN,
    INVENTORY,
    MANIFEST,
    MIB,
    NAME,
    REPOSITORY,
    Fleet,
    Host,
    Pull,
    failures,
    lines_of,
    push_again,
    round_trip,
    run,
    until,
)

Record = Callable[[str, object], None]
CONFIGURATION = f"{BUCKET}-configuration"
REDIS = "drydock-fleet-redis"
SAYS_REDIS_IS_AWAY = "the registry serves without that cache until something does"


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[Rehearsal]:
    """The stand-ins, with an empty account."""
    with rehearsal(INVENTORY) as started:
        yield started


@pytest.fixture(scope="module")
def fleet(rehearsed: Rehearsal) -> Fleet:
    """The fleet that the tests make and change."""
    return Fleet(rehearsed)


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """A Redis of Debian's in the hosts' network; return its address."""
    address = "172.31.240.10"
    try:
        # One of a run that was killed.
        run("docker", "rm", "--force", "--volumes", REDIS)
        run(
            *("docker", "run", "--detach", "--name", REDIS, "--network", "drydock-rehearsal", "--ip", address),
            *("--entrypoint", "sleep", "drydock-test-host:debian12-ready", "infinity"),
        )
        install = "apt-get update -q && apt-get install -qy --no-install-recommends redis-server"
        run("docker", "exec", REDIS, "sh", "-c", install)
        run("docker", "exec", REDIS, "redis-server", "--daemonize", "yes", "--bind", address, "--protected-mode", "no")
        yield f"{address}:6379"
    finally:
        run("docker", "rm", "--force", "--volumes", REDIS)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return a run's output on one line, so that it does not matter where it was wrapped."""
    return " ".join((done.stdout + done.stderr).split())


def made(rehearsed: Rehearsal) -> dict[str, list[str]]:
    """Return what the account holds of the kinds that the playbook makes."""
    get = rehearsed.administrator
    ec2, elb, iam = get("ec2"), get("elbv2"), get("iam")
    (zone,) = get("route53").list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    records = get("route53").list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    pages = ec2.describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    )
    found = {
        "groups": [
            each["AutoScalingGroupName"]
            for each in get("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        ],
        "images": [each["Name"] for each in ec2.describe_images(Owners=["self"])["Images"]],
        "snapshots": [
            each["SnapshotId"]
            for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
            if any(tag["Key"] == "drydock-deployment" for tag in each.get("Tags", []))
        ],
        "templates": [each["LaunchTemplateName"] for each in ec2.describe_launch_templates()["LaunchTemplates"]],
        "instances": [each["InstanceId"] for page in pages["Reservations"] for each in page["Instances"]],
        "balancers": [each["LoadBalancerName"] for each in elb.describe_load_balancers()["LoadBalancers"]],
        "target groups": [each["TargetGroupName"] for each in elb.describe_target_groups()["TargetGroups"]],
        "certificates": [each["DomainName"] for each in get("acm").list_certificates()["CertificateSummaryList"]],
        "alarms": [each["AlarmName"] for each in get("cloudwatch").describe_alarms()["MetricAlarms"]],
        "security groups": [
            each["GroupName"]
            for each in ec2.describe_security_groups()["SecurityGroups"]
            if each["GroupName"] != "default"
        ],
        "endpoints": [each["VpcEndpointId"] for each in ec2.describe_vpc_endpoints()["VpcEndpoints"]],
        "key pairs": [each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]],
        "roles": [each["RoleName"] for each in iam.list_roles()["Roles"] if NAME in each["RoleName"]],
        "policies": [
            each["PolicyName"] for each in iam.list_policies(Scope="Local")["Policies"] if NAME in each["PolicyName"]
        ],
        "profiles": [each["InstanceProfileName"] for each in iam.list_instance_profiles()["InstanceProfiles"]],
        "records": [each["Name"] for each in records if each["Type"] not in {"NS", "SOA"}],
        "buckets": [each["Name"] for each in get("s3").list_buckets()["Buckets"]],
    }
    return {kind: names for kind, names in found.items() if names}


# --- Made -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_makes_nothing(rehearsed: Rehearsal, fleet: Fleet) -> None:
    # There is no golden image yet.
    done = fleet.play("site.yml", "--check", aws_autoscaling_image_provider="parameter")
    assert changes(done) > 5
    assert made(rehearsed) == {}
    for thing in (NAME, BUCKET, CONFIGURATION):
        assert thing in said(done)


def test_a_host_becomes_the_image_of_all_others(rehearsed: Rehearsal, fleet: Fleet, record_property: Record) -> None:
    begun = time.monotonic()
    assert changes(fleet.play("golden_image.yml")) > 0
    seconds = round(time.monotonic() - begun)
    print(f"golden_image.yml, with a boot from Debian's image: {seconds} s")
    record_property("seconds of golden_image.yml", seconds)
    assert len(made(rehearsed)["images"]) == len(made(rehearsed)["snapshots"]) == 1
    until(lambda: not rehearsed.containers(), "the host that became it is gone")


def test_one_run_makes_two_hosts_in_two_zones(
    rehearsed: Rehearsal, fleet: Fleet, tmp_path: Path, record_property: Record
) -> None:
    begun = time.monotonic()
    with counted(rehearsed.users_environment, tmp_path) as tasks:
        done = fleet.play("site.yml")
    # It was 172 once.
    assert tasks.total() <= 90, tasks
    print(f"site.yml from an empty account: {time.monotonic() - begun:.0f} s")
    record_property("seconds of site.yml from an empty account", round(time.monotonic() - begun))
    # What hosts need is there since the image was baked.
    assert changes(done) > 5
    assert "The registry works" in said(done)
    first, second = fleet.healthy(2)
    assert first.zone != second.zone
    for host in (first, second):
        assert "drydock: this host is a registry." in fleet.console(host.id)
    assert made(rehearsed)["records"] == [f"{DOMAIN}."]
    fleet.prepare()


def test_security_controls(fleet: Fleet) -> None:
    facts = aws_platform_controls.of_a_fleet(fleet.client, NAME)
    assert aws_platform_controls.failures(facts, aws_platform_controls.SET["fleet"]) == {}
    shared = aws_controls.Deployment(fleet.client, BUCKET, f"{NAME}-eu-central-1", "", "", "")
    assert aws_controls.failures(shared, ("S3.", "IAM.", "KMS.1")) == {}


def test_a_second_run_changes_nothing(fleet: Fleet, record_property: Record) -> None:
    begun = time.monotonic()
    assert changes(fleet.play("provision.yml")) == 0
    print(f"a second run of provision.yml: {time.monotonic() - begun:.0f} s")
    record_property("seconds of a second run of provision.yml", round(time.monotonic() - begun))


def test_what_one_host_takes_the_other_one_gives(fleet: Fleet) -> None:
    """Past the load balancer: the blobs of an upload, its parts on one host each, and the manifest."""
    one, other = fleet.healthy(2)
    with closing(fleet.pusher(fleet.push("fleet/shared", 3 * MIB), one)) as pusher:
        digest, size = pusher.blob(pusher.layer)
        pusher.once()
    assert fleet.ask("GET", "/v2/fleet/shared/manifests/pushed", other).status == 200
    assert len(fleet.ask("GET", f"/v2/fleet/shared/blobs/{digest}", other).body) == size
    # An upload that begins on one host goes on on the other: both know the same secret.
    begun = fleet.ask("POST", "/v2/fleet/shared/blobs/uploads/", one)
    assert begun.status == 202
    where = begun.headers["location"].partition(DOMAIN)[2]
    assert fleet.ask("GET", where, other).status == 204


def test_a_client_of_the_name_pushes_and_pulls(fleet: Fleet, tmp_path: Path) -> None:
    """skopeo, which sees the load balancer only."""
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    shutil.copy(fleet.credentials / "ca.crt", certificates / "ca.crt")
    round_trip(tmp_path, certificates, fleet.login(), f"{DOMAIN}/fleet/skopeo:1", 20 * MIB)


@pytest.mark.usefixtures("fleet")
def test_http_leads_to_https() -> None:
    status = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{DOMAIN}/v2/")
    assert status == f"301 https://{DOMAIN}:443/v2/"


def addresses(fleet: Fleet, agent: str) -> set[str]:
    """Return the clients' addresses in the access logs of requests of one program."""
    found = set()
    for host in fleet.hosts("healthy"):
        for line in fleet.on(host, "docker", "logs", "drydock-proxy").splitlines():
            if agent in line:
                found.add(str(json.loads(line)["address"]))
    return found


def own_addresses() -> set[str]:
    """Return this machine's addresses."""
    shown = json.loads(run("ip", "-json", "-4", "address", "show", "scope", "global"))
    return {entry["local"] for link in shown for entry in link["addr_info"]}


def test_the_access_log_names_the_client(fleet: Fleet) -> None:
    """Whatever a client writes into X-Forwarded-For, only what the load balancer adds to it is believed."""
    forged = {"X-Forwarded-For": "203.0.113.7"}
    assert fleet.ask("GET", "/v2/", headers={"User-Agent": "honest"}).status == 200
    assert fleet.ask("GET", "/v2/", headers={"User-Agent": "forging", **forged}).status == 200
    # Docker's rules decide from which of its addresses this machine speaks to itself.
    assert len(addresses(fleet, "honest")) == 1
    assert addresses(fleet, "honest") == addresses(fleet, "forging") <= own_addresses()


@pytest.fixture
def outside() -> Iterator[str]:
    """An address of this machine that is none of the load balancer's networks, nor one that Docker's rules replace."""
    address = ("203.0.113.9/32", "dev", "drydock-aws")
    run("ip", "address", "add", *address)
    yield address[0].partition("/")[0]
    run("ip", "address", "del", *address)


def test_nobody_but_the_load_balancer_says_who_asks(fleet: Fleet, outside: str) -> None:
    """Past it, from an address outside its networks, the header is not believed."""
    (host, _) = fleet.healthy(2)
    with closing(fleet.connection(host, outside)) as connection:
        headers = {**fleet.headers(), "User-Agent": "stranger", "X-Forwarded-For": "203.0.113.7"}
        connection.request("GET", "/v2/", headers=headers)
        assert connection.getresponse().status == 200
    assert addresses(fleet, "stranger") == {outside}


def test_the_role_of_a_host_may_read_its_configuration_and_use_its_bucket(rehearsed: Rehearsal, fleet: Fleet) -> None:
    host = fleet.healthy(2)[0]
    s3, ec2, iam, scaling, elb = (
        rehearsed.role_client(host.id, service) for service in ("s3", "ec2", "iam", "autoscaling", "elbv2")
    )
    s3.put_object(Bucket=BUCKET, Key="docker/registry/v2/probe", Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="docker/registry/v2/probe")
    assert s3.get_object(Bucket=CONFIGURATION, Key="live.json")["Body"].read()
    word = {
        "AutoScalingGroupName": NAME,
        "LifecycleHookName": "launch",
        "InstanceId": host.id,
        "LifecycleActionResult": "CONTINUE",
    }
    # Which it has said already.
    with pytest.raises(botocore.exceptions.ClientError, match="No active Lifecycle Action found"):
        scaling.complete_lifecycle_action(**word)
    refused = (
        lambda: s3.put_object(Bucket=CONFIGURATION, Key="live.json", Body=b"{}"),
        lambda: s3.delete_object(Bucket=CONFIGURATION, Key="live.json"),
        lambda: s3.put_object(Bucket=CONFIGURATION, Key="bundles/x", Body=b""),
        lambda: s3.put_object(Bucket=BUCKET, Key="elsewhere", Body=b""),
        lambda: s3.get_object(Bucket=BUCKET, Key="elsewhere"),
        lambda: s3.delete_bucket(Bucket=BUCKET),
        s3.list_buckets,
        ec2.describe_instances,
        iam.list_users,
        scaling.describe_auto_scaling_groups,
        elb.describe_load_balancers,
        lambda: scaling.complete_lifecycle_action(**{**word, "AutoScalingGroupName": "other-registry"}),
        lambda: scaling.terminate_instance_in_auto_scaling_group(
            InstanceId=host.id, ShouldDecrementDesiredCapacity=False
        ),
    )
    for attempt in refused:
        with pytest.raises(botocore.exceptions.ClientError, match=r"AccessDenied|UnauthorizedOperation|Forbidden|403"):
            attempt()


# --- Users ----------------------------------------------------------------------------------------------------------


def test_users_come_and_go_on_all_hosts_without_a_new_one(fleet: Fleet, record_property: Record) -> None:
    before = fleet.healthy(2)
    admin = {"name": "admin", "access": "admin"}

    def statuses() -> set[int]:
        return {fleet.ask("GET", "/v2/", host, "alice:of-one-day").status for host in fleet.hosts("healthy")}

    assert statuses() == {401}
    for what, playbook, users, status in (
        ("added", "fleet_users.yml", [admin, {"name": "alice", "password": "of-one-day", "access": "pull"}], 200),
        ("removed", "provision.yml", [admin], 401),
    ):
        assert changes(fleet.play(playbook, registry_auth_users=users)) > 0
        begun = time.monotonic()
        until(lambda status=status: statuses() == {status}, f"the user is {what} everywhere")  # type: ignore[misc]
        seconds = round(time.monotonic() - begun)
        print(f"a user is {what} on all hosts {seconds} s after the run")
        record_property(f"seconds until a user is {what} on all hosts", seconds)
    assert fleet.healthy(2) == before


# --- Death ----------------------------------------------------------------------------------------------------------


def test_a_host_dies_in_the_middle_of_a_pull(fleet: Fleet, record_property: Record) -> None:
    with closing(fleet.pusher(fleet.push("fleet/big", 48 * MIB))) as pusher:
        digest, size = pusher.blob(pusher.layer)
    before = fleet.healthy(2)
    pull = Pull(fleet, f"/v2/fleet/big/blobs/{digest}")
    pull.start()
    victim = fleet.busy()
    fleet.kill(victim)
    assert pull.finish() == digest
    assert len(pull.data) == size
    # It was in the middle of it, or the test shows nothing.
    assert pull.failures
    print(f"pull: {len(pull.failures)} requests failed: {pull.failures}")
    record_property("a host dies in a pull: requests that failed", len(pull.failures))
    replaced(fleet, before, "a host that died in a pull", record_property)


def test_a_host_dies_in_the_middle_of_a_push(fleet: Fleet, record_property: Record) -> None:
    before = fleet.healthy(2)
    with closing(fleet.pusher(fleet.push("fleet/push", 24 * MIB))) as pusher, ThreadPoolExecutor(1) as pool:
        pusher.resume.clear()
        pushed = pool.submit(push_again, pusher)
        try:
            until(lambda: pusher.counts["push: PATCH"].asked, "a layer is on its way")
            time.sleep(1)
            fleet.kill(fleet.busy())
        finally:
            pusher.resume.set()
        attempts = pushed.result()
        assert attempts > 1
        print(f"push: {attempts} attempts, failed: {failures(pusher.counts)}")
        record_property("a host dies in a push: requests that failed", len(failures(pusher.counts)))
    assert fleet.ask("GET", "/v2/fleet/push/manifests/pushed").status == 200
    replaced(fleet, before, "a host that died in a push", record_property)


def replaced(fleet: Fleet, before: list[Host], what: str, record: Record) -> None:
    """Wait until another host is in the dead one's place, and tell how long that one took to boot."""

    def new() -> list[Host]:
        return [host for host in fleet.hosts("healthy") if host not in before]

    (host,) = until(new, "a host in its place")
    seconds = round(fleet.boot_seconds(host))
    assert len(fleet.healthy(2)) == 2
    print(f"{what} is replaced: the new one is healthy {seconds} s after its launch")
    record(f"{what}: seconds from launch to healthy", seconds)


# --- More and fewer -------------------------------------------------------------------------------------------------


def scale(fleet: Fleet, count: int) -> None:
    """Let the group have so many hosts, as a scaling policy does it, and wait until it has."""
    fleet.client("autoscaling").set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=count)
    fleet.healthy(count)
    until(lambda: len(fleet.group()["Instances"]) == count, "the hosts that leave are gone")


def test_one_three_one_under_load(fleet: Fleet, record_property: Record) -> None:
    fleet.settings |= {"aws_autoscaling_min_hosts": 1}
    finished(fleet.play("provision.yml", aws_autoscaling_desired_hosts=1))
    scale(fleet, 1)
    for event, count in (("1 host to 3", 3), ("3 hosts to 1", 1)):
        before = {host.id for host in fleet.hosts()}
        with fleet.loaded(event, record_property) as load:
            scale(fleet, count)
        for gone in before - {host.id for host in fleet.hosts()}:
            assert lines_of(fleet.console(gone), "drydock: this host has finished."), gone
        assert load.failed(idempotent=True) == []
        # A host that only comes breaks off nothing. One that goes breaks off what takes longer than its drain time.
        assert count == 1 or load.failed(idempotent=False) == []
        assert len({host.zone for host in fleet.hosts()}) == count


# --- Another making -------------------------------------------------------------------------------------------------


def test_a_changed_setting_rolls_the_fleet_under_load(fleet: Fleet, redis: str, record_property: Record) -> None:
    scale(fleet, 2)
    before = {host.id for host in fleet.hosts()}
    over = threading.Event()

    def watch() -> int:
        fewest = 2
        while not over.wait(0.5):
            fewest = min(fewest, len(fleet.hosts("healthy")))
        return fewest

    fleet.settings |= {"registry_server_redis": {"address": redis}}
    with ThreadPoolExecutor(1) as pool:
        fewest = pool.submit(watch)
        try:
            with fleet.loaded("a rolling replacement", record_property) as load:
                begun = time.monotonic()
                finished(fleet.play("provision.yml"))
                until(lambda: refresh(fleet)["Status"] in {"Successful", "Failed", "Cancelled"}, "the refresh ends")
                seconds = round(time.monotonic() - begun)
        finally:
            over.set()
    assert refresh(fleet)["Status"] == "Successful"
    assert not before & {host.id for host in fleet.healthy(2)}
    assert fewest.result() == 2
    assert load.failed(idempotent=True) == []
    print(f"a rolling replacement of two hosts, with its run: {seconds} s")
    record_property("seconds of a rolling replacement of two hosts", seconds)
    # Nor is what scaling has decided, and hosts that are on their way out are not replaced again.
    unchanged = fleet.play("provision.yml")
    assert changes(unchanged) == 0, unchanged.stdout
    assert len(fleet.healthy(2)) == 2


def refresh(fleet: Fleet) -> dict[str, Any]:
    """Return the newest instance refresh."""
    found = fleet.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=NAME)["InstanceRefreshes"]
    return dict(found[0])


# --- Redis ----------------------------------------------------------------------------------------------------------


def test_redis_is_used_and_can_be_missed(fleet: Fleet, redis: str) -> None:
    cli = ("docker", "exec", REDIS, "redis-cli", "-h", redis.partition(":")[0])
    with closing(fleet.pusher(fleet.push("fleet/cached", MIB))) as pusher:
        digest, _ = pusher.blob(pusher.layer)
        pusher.once()
    path = f"/v2/fleet/cached/blobs/{digest}"
    assert fleet.ask("HEAD", path).status == 200
    assert digest in run(*cli, "keys", "*")
    run(*cli, "shutdown", "nosave")
    for host in fleet.hosts("healthy"):
        assert fleet.ask("GET", path, host).status == 200
        assert fleet.ask("GET", MANIFEST.replace(REPOSITORY, "fleet/cached"), host).status == 200
    with closing(fleet.pusher(fleet.push("fleet/uncached", MIB))) as pusher:
        pusher.once()
    assert len(fleet.healthy(2)) == 2


# --- A boot that fails ----------------------------------------------------------------------------------------------


def test_a_host_without_its_bundle_says_so_and_ends(fleet: Fleet, rehearsed: Rehearsal) -> None:
    s3, scaling = rehearsed.administrator("s3"), rehearsed.administrator("autoscaling")
    before = {host.id for host in fleet.healthy(2)}
    # That of the hosts, and one before.
    bundles = {
        each["Key"]: s3.get_object(Bucket=CONFIGURATION, Key=each["Key"])["Body"].read()
        for each in s3.list_objects_v2(Bucket=CONFIGURATION, Prefix="bundles/")["Contents"]
    }

    def write(contents: dict[str, bytes]) -> None:
        for key, content in contents.items():
            s3.put_object(Bucket=CONFIGURATION, Key=key, Body=content)

    def instances() -> set[str]:
        pages = rehearsed.administrator("ec2").describe_instances()["Reservations"]
        return {each["InstanceId"] for page in pages for each in page["Instances"]}

    def says(words: str) -> str:
        return next((line for each in instances() - known for line in lines_of(fleet.console(each), words)), "")

    known = instances()
    for key in bundles:
        s3.delete_object(Bucket=CONFIGURATION, Key=key)
    scaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=3)
    # It might still come.
    print(until(lambda: says("drydock: not yet"), "a host misses its bundle"))
    # Nobody sends it requests, and no alarm counts it.
    (state,) = {each["LifecycleState"] for each in fleet.group()["Instances"] if each["InstanceId"] not in known}
    assert state == "Pending:Wait"
    described = fleet.client("elbv2").describe_target_health(TargetGroupArn=fleet.target_group())
    assert {each["Target"]["Id"] for each in described["TargetHealthDescriptions"]} == before
    write(dict.fromkeys(bundles, b"another one"))
    sentence = until(lambda: says("drydock: FAILED"), "a host gives up")
    print(sentence)
    assert "run the playbook again" in sentence

    def one_ended() -> bool:
        found = scaling.describe_scaling_activities(AutoScalingGroupName=NAME)["Activities"]
        return any(
            "EC2 health check" in each["Cause"] and each["Description"].split()[-1] not in known for each in found
        )

    until(one_ended, "the host ends")
    # The others serve on.
    assert before <= {host.id for host in fleet.hosts("healthy")}
    write(bundles)
    # What comes in its place finds it, and does without the Redis that is away.
    found = fleet.healthy(3)
    assert before < {host.id for host in found}
    for host in found:
        assert (SAYS_REDIS_IS_AWAY in " ".join(fleet.console(host.id).split())) is (host.id not in before)


@contextlib.contextmanager
def without_s3() -> Iterator[None]:
    """Let no host reach the API under which S3 is."""
    rule = ("INPUT", "-i", "drydock-aws", "-p", "tcp", "--dport", "5580", "-j", "REJECT", "--reject-with", "tcp-reset")
    run("iptables", "-I", *rule)
    try:
        yield
    finally:
        run("iptables", "-D", *rule)


def test_an_outage_of_s3_ends_with_the_hosts_that_it_began_with(fleet: Fleet) -> None:
    before = fleet.healthy(3)
    with without_s3():
        until(lambda: not [host for host in fleet.hosts() if host.health != "unhealthy"], "all hosts miss S3")
        for host in before:
            assert [fleet.ask("GET", path, host).status for path in ("/healthz", "/livez")] == [503, 200]
    assert {host.id for host in fleet.healthy(3)} == {host.id for host in before}


def test_a_host_on_which_nothing_answers_ends_itself(fleet: Fleet) -> None:
    scaling = fleet.client("autoscaling")
    victim, *others = fleet.healthy(3)
    fleet.on(victim, "docker", "stop", "drydock-proxy")
    # It waits some minutes, which are over.
    fleet.on(victim, "sh", "-c", "echo 0 >/run/drydock-silent-since")

    def reasons() -> list[str]:
        found = scaling.describe_scaling_activities(AutoScalingGroupName=NAME)["Activities"]
        return [
            each["Cause"] for each in found if each["Description"].endswith(victim.id) and "out of" in each["Cause"]
        ]

    (reason,) = until(reasons, "the group takes the host out")
    assert "EC2 health check" in reason
    assert lines_of(fleet.console(victim.id), "FAILED: no registry has answered on this host")
    assert {host.id for host in fleet.hosts("healthy")} == {host.id for host in others}


# --- Gone -----------------------------------------------------------------------------------------------------------


def test_teardown_leaves_nothing(rehearsed: Rehearsal, fleet: Fleet) -> None:
    finished(fleet.play("teardown.yml", "-e", f"drydock_teardown_bucket={BUCKET}"))
    with contextlib.suppress(AssertionError):
        until(lambda: not rehearsed.containers(), "the machines are gone")
    assert made(rehearsed) == {}
    assert rehearsed.containers() == []
    assert DOMAIN not in Path("/etc/hosts").read_text(encoding="utf-8")
    assert changes(fleet.play("teardown.yml", "-e", f"drydock_teardown_bucket={BUCKET}")) == 0
