# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 where moto's differs from AWS's, and instances that are machines."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2 import utils
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends, elastic_ip_addresses, elastic_network_interfaces
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.elastic_block_store import Volume
from moto.ec2.models.elastic_ip_addresses import ElasticAddressBackend
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociationBackend
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse

from .machines import REBOOT_STATUS, MachineError, Machines
from .patching import instead_of

PENDING = ("pending", 0)
RUNNING = ("running", 16)
SHUTTING_DOWN = ("shutting-down", 32)
TERMINATED = ("terminated", 48)
STOPPING = ("stopping", 64)
STOPPED = ("stopped", 80)
# AWS keeps the last 64 KiB.
CONSOLE_BYTES = 64 * 1024
EVERYWHERE = "0.0.0.0/0"


def all_instances() -> Iterator[Instance]:
    """Yield the instances of all accounts and regions."""
    for account in list(ec2_backends.values()):
        for backend in list(account.values()):
            yield from list(backend.all_instances())


def _credits() -> None:
    """Keep how an instance has its CPU credits; moto says `standard` of all.

    `standard` gets no launch credits on T3, T3a and T4g, which are `unlimited` where a launch says nothing.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode-concepts.html
    """

    @instead_of(InstanceResponse, "run_instances")
    def run_instances(original: Any, self: Any) -> Any:
        answer = original(self)
        given = (self._get_param("CreditSpecification") or {}).get("CpuCredits")
        for instance in answer.result.instances:
            instance.drydock_credits = given or (
                "standard" if instance.instance_type.startswith("t2.") else "unlimited"
            )
        return answer

    @instead_of(InstanceResponse, "describe_instance_credit_specifications")
    def describe(_original: Any, self: Any) -> ActionResult:
        found = self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", []))
        found_credits = [
            {"InstanceId": each.id, "CpuCredits": getattr(each, "drydock_credits", "unlimited")}
            for each in found
            if each.instance_type.startswith("t")
        ]
        return ActionResult({"InstanceCreditSpecifications": found_credits})


class AfterAnswer(ActionResult):
    """An answer that is written first and acted on then, as AWS answers before a machine runs."""

    def __init__(self, result: object, action: Callable[[], None]) -> None:
        super().__init__(result)
        self._action = action

    def execute_result(self, context: Any) -> Any:
        """Write the answer, then act."""
        answer = super().execute_result(context)
        self._action()
        return answer


def default_vpcs() -> None:
    """Lead the default VPC's main route table to an internet gateway; moto's has neither.

    https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc.html
    """

    @instead_of(EC2Backend, "__init__")
    def backend(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        gateway = self.create_internet_gateway()
        self.attach_internet_gateway(gateway.id, self.default_vpc.id)
        self.create_route(main_table(self, self.default_vpc.id).id, EVERYWHERE, None, gateway_id=gateway.id)


def main_table(backend: Any, vpc_id: str) -> RouteTable:
    """Return the route table of subnets that have none of their own."""
    tables = backend.describe_route_tables(filters={"vpc-id": [vpc_id], "association.main": ["true"]})
    found: RouteTable = tables[0]
    return found


def way_of(backend: Any, subnet: Any) -> str:
    """Return where a subnet's default route leads: the gateway's id, or nothing."""
    own = backend.describe_route_tables(filters={"association.subnet-id": [subnet.id]})
    for route in (own or [main_table(backend, subnet.vpc_id)])[0].routes:
        if route.destination_cidr_block == EVERYWHERE:
            return str(route.gateway_id or route.nat_gateway_id or route.transit_gateway_id or "")
    return ""


def is_let_out(instance: Any) -> bool:
    """Tell whether a machine reaches what is not in its VPC: an internet gateway serves those with a public address alone.

    https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html
    """
    subnet = instance.ec2_backend.get_subnet(instance.subnet_id)
    way = way_of(instance.ec2_backend, subnet)
    return bool(way) and (not way.startswith("igw-") or bool(instance.public_ip))


def gaps() -> None:
    """Close the gaps that have nothing to do with machines."""
    default_vpcs()

    # The type of an Elastic IP when it is tagged; moto has a name of its own for it.
    utils.EC2_PREFIX_TO_RESOURCE["eipalloc"] = "elastic-ip"

    # DescribeVolumes always says whether several instances may attach a volume; moto says it only if it was asked for.
    @instead_of(Volume, "__init__")
    def volume(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.multi_attach_enabled = bool(self.multi_attach_enabled)

    # CreateImage tags the snapshots as well, and the image has the disk of what its instance was made of; moto refuses such tags.
    @instead_of(AmiBackend, "create_image")
    def create_image(
        original: Any,
        self: Any,
        instance_id: str,
        name: str,
        description: str,
        tag_specifications: list[dict[str, Any]],
    ) -> Any:
        of_image = [each for each in tag_specifications if each["ResourceType"] != "snapshot"]
        made = original(self, instance_id, name, description, of_image)
        for specification in tag_specifications:
            if specification["ResourceType"] == "snapshot":
                made.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
        source = self.amis.get(made.instance.image_id)
        made.root_device_type = "ebs"
        made.root_device_name = source.root_device_name if source else "/dev/xvda"
        return made

    # Without a subnet an instance goes into a default one; moto makes up an address, as if there were no VPC.
    @instead_of(InstanceBackend, "run_instances")
    def run_instances(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("subnet_id") and not kwargs.get("nics"):
            subnets = self.get_default_subnets()
            zone = kwargs.get("placement") or min(subnets, default=None)
            if zone in subnets:
                kwargs["subnet_id"] = subnets[zone].id
        return original(self, *args, **kwargs)

    _credits()

    # Options that a call does not name stay as they are; moto forgets them.
    @instead_of(InstanceBackend, "modify_instance_metadata_options")
    def metadata_options(original: Any, self: Any, instance_id: str, **kwargs: Any) -> Any:
        present = self.get_instance(instance_id).metadata_options
        for argument, attribute in {
            "http_tokens": "http_tokens",
            "hop_limit": "http_put_response_hop_limit",
            "http_endpoint": "http_endpoint",
            "http_protocol": "http_protocol_ipv6",
            "metadata_tags": "instance_metadata_tags",
        }.items():
            if kwargs.get(argument) is None:
                kwargs[argument] = getattr(present, attribute)
        return original(self, instance_id, **kwargs)

    # A terminated instance gives its Elastic IP back; moto leaves it there.
    @instead_of(Instance, "terminate")
    def terminate(original: Any, self: Any) -> Any:
        for address in list(self.ec2_backend.addresses):
            if address.instance is self:
                self.ec2_backend.disassociate_address(address=address.public_ip)
        return original(self)

    # An Elastic IP stays when its instance is stopped and started; moto puts an automatic address in its place.
    def has_elastic_ip(interface: Any) -> bool:
        return any(
            address.eni is interface and address.public_ip == interface.public_ip
            for address in interface.ec2_backend.addresses
        )

    for name in ("stop", "check_auto_public_ip"):

        @instead_of(NetworkInterface, name)
        def unless_elastic(original: Any, self: Any) -> None:
            if not has_elastic_ip(self):
                original(self)

    # What a NAT gateway has cannot be released before the gateway is gone; moto lets it go.
    # https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-working-with.html#nat-gateway-deleting
    @instead_of(ElasticAddressBackend, "release_address")
    def release(original: Any, self: Any, address: str | None = None, allocation_id: str | None = None) -> None:
        for gateway in self.nat_gateways.values():
            if gateway.state not in {"deleted", "failed"}:
                for taken in gateway.nat_gateway_addresses:
                    if allocation_id == taken.get("allocationId", "") or address == taken.get("publicIp", ""):
                        raise EC2ClientError("InvalidIPAddress.InUse", f"Address {taken.get('publicIp')} is in use.")
        original(self, address, allocation_id)

    # The profile that replaces another is the instance's from then on; moto says so of the association only.
    @instead_of(IamInstanceProfileAssociationBackend, "replace_iam_instance_profile_association")
    def replace_profile(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        association = original(self, *args, **kwargs)
        association.instance.iam_instance_profile = {
            "Arn": association.iam_instance_profile.arn,
            "Id": association.iam_instance_profile.id,
        }
        return association

    # An endpoint that is deleted is forgotten soon; moto goes on describing it, and modules take it for one that works.
    @instead_of(VPCBackend, "delete_vpc_endpoints")
    def delete_endpoints(original: Any, self: Any, vpce_ids: list[str] | None = None) -> None:
        original(self, vpce_ids)
        for endpoint_id in vpce_ids or []:
            self.vpc_end_points.pop(endpoint_id, None)

    # An Elastic IP that moves leaves the instance that had it; with moto both have it.
    @instead_of(ElasticAddressBackend, "associate_address")
    def associate(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        before = {address.public_ip: address.eni for address in self.addresses}
        address = original(self, *args, **kwargs)
        left = before.get(address.public_ip)
        if left is not None and left is not address.eni:
            left.public_ip = None
            left.check_auto_public_ip()
        return address


class Addresses:
    """Public addresses in the order of a network, from its tenth on; moto makes up any, among them other people's."""

    def __init__(self, network: ipaddress.IPv4Network) -> None:
        self._left: Iterator[ipaddress.IPv4Address] = iter([])
        self._network = network

    def next(self) -> str:
        """Return an address; when all were used, the first ones come again."""
        address = next(self._left, None)
        if address is None:
            self._left = iter(list(self._network.hosts())[9:])
            address = next(self._left)
        return str(address)


class Instances:
    """Keeps moto's instances and their machines the same."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        # Docker commands of one instance must not overtake each other.
        self._lock = RLock()
        # The console of a terminated instance can be read for a while.
        self.last_words: dict[str, str] = {}

    def has_machine(self, instance: Instance) -> bool:
        """Return whether an instance lies in the network where machines are."""
        return self.machines.has_place_for(str(instance.private_ip))

    @staticmethod
    def _set(instance: Instance, state: tuple[str, int]) -> None:
        instance._state = InstanceState(*state)

    @staticmethod
    def _blame(instance: Instance, error: MachineError) -> None:
        """Say in the API why an instance is in the state that it is in."""
        instance.state_reason = StateReason(f"Server.InternalError: {error}", "Server.InternalError")

    def launch(self, instance: Instance) -> None:
        """Boot an instance for the first time."""
        with self._lock:
            try:
                self.machines.launch(instance.id, str(instance.private_ip), instance.image_id)
                self._set(instance, RUNNING)
                self.update_addresses(instance)
            except MachineError as error:
                # As AWS gives up one whose machine cannot be had.
                instance.terminate()
                self.machines.remove(instance.id)
                self._blame(instance, error)

    def start(self, instance: Instance) -> None:
        """Boot an instance again."""
        with self._lock:
            try:
                self.machines.start(instance.id)
                self._set(instance, RUNNING)
                self.update_addresses(instance)
            except MachineError as error:
                self._set(instance, STOPPED)
                self._blame(instance, error)

    def stop(self, instance: Instance) -> None:
        """Shut an instance down."""
        with self._lock:
            try:
                self.machines.stop(instance.id)
            except MachineError as error:
                self._blame(instance, error)
            self._set(instance, STOPPED)

    def reboot(self, instance: Instance) -> None:
        """Shut an instance down and boot it; all the while it counts as running."""
        with self._lock:
            try:
                self.machines.stop(instance.id)
                self.machines.start(instance.id)
                self.update_addresses(instance)
            except MachineError as error:
                self._set(instance, STOPPED)
                self._blame(instance, error)

    def capture(self, instance: Instance, image_id: str) -> None:
        """Make an image of an instance; one that runs is shut down meanwhile, as on AWS."""
        running = instance.state == "running"
        with self._lock:
            if running:
                self.machines.stop(instance.id)
            self.machines.capture(instance.id, image_id)
            if running:
                self.start(instance)

    def remove(self, instance: Instance) -> None:
        """Destroy an instance's machine."""
        with self._lock:
            with contextlib.suppress(MachineError):
                self.last_words[instance.id] = self.machines.console(instance.id)
            self.machines.remove(instance.id)
            self._set(instance, TERMINATED)

    def terminate(self, instance: Instance) -> None:
        """Destroy an instance that nobody's call is about."""
        self._set(instance, SHUTTING_DOWN)
        instance.ec2_backend.terminate_instances([instance.id])
        self._set(instance, SHUTTING_DOWN)
        self.remove(instance)

    def shut_down(self, instance: Instance, status: int) -> None:
        """Do what was asked for at the launch when the operating system has shut itself down."""
        with self._lock:
            if instance.state not in {"pending", "running"} or self.machines.runs(instance.id):
                return
            if status == REBOOT_STATUS:
                self.start(instance)
                return
            if instance.instance_initiated_shutdown_behavior == "terminate":
                self.terminate(instance)
            else:
                self._set(instance, STOPPED)
            instance.state_reason = StateReason(
                "Client.InstanceInitiatedShutdown: Instance initiated shutdown", "Client.InstanceInitiatedShutdown"
            )

    def watch(self) -> None:
        """Notice machines that end by themselves."""
        for instance_id, status in self.machines.ended():
            for instance in all_instances():
                if instance.id == instance_id:
                    self.shut_down(instance, status)

    def update_addresses(self, instance: Any) -> None:
        """Let a machine answer to the public address that its instance has now."""
        if instance is not None and instance.state == "running" and self.has_machine(instance):
            with self._lock:
                self.machines.set_public_addresses(instance.id, [instance.public_ip] if instance.public_ip else [])
                self.machines.set_way_out(instance.id, is_let_out(instance))


def _in_state(instances: list[Instance], state: tuple[str, int]) -> None:
    for instance in instances:
        Instances._set(instance, state)


def machines(instances: Instances, addresses: Addresses) -> None:
    """Make instances machines."""
    for module, name in (
        (elastic_ip_addresses, "random_ip"),
        (elastic_network_interfaces, "random_public_ip"),
    ):

        @instead_of(module, name)
        def public_address(_original: Any) -> str:
            return addresses.next()

    # RunInstances says `pending`, and `running` is said when the machine runs; moto says `running` at once.
    @instead_of(InstanceResponse, "run_instances")
    def run_instances(original: Any, self: Any) -> ActionResult:
        answer: ActionResult = original(self)
        new = [instance for instance in answer.result.instances if instances.has_machine(instance)]  # type: ignore[attr-defined]
        _in_state(new, PENDING)

        def launch() -> None:
            for instance in new:
                instances.launch(instance)

        return AfterAnswer(answer.result, launch)

    def acting(name: str, between: tuple[str, int], wanted: str, act: Callable[[Instance], None]) -> None:
        @instead_of(InstanceResponse, name)
        def answer_and_act(original: Any, self: Any) -> ActionResult:
            ids = self._get_param("InstanceIds", [])
            states = {
                instance.id: instance.state for instance in self.ec2_backend.all_instances() if instance.id in ids
            }
            answer: ActionResult = original(self)
            # One that was in this state before has nothing to do.
            concerned = [
                instance
                for instance in self.ec2_backend.all_instances()
                if states.get(instance.id) not in {None, wanted, "terminated"} and instances.has_machine(instance)
            ]
            _in_state(concerned, between)

            def act_on_all() -> None:
                for instance in concerned:
                    act(instance)

            return AfterAnswer(answer.result, act_on_all)

    acting("start_instances", PENDING, "running", instances.start)
    acting("stop_instances", STOPPING, "stopped", instances.stop)
    acting("reboot_instances", RUNNING, "stopped", instances.reboot)
    acting("terminate_instances", SHUTTING_DOWN, "terminated", instances.remove)

    @instead_of(ElasticAddressBackend, "associate_address")
    def associate(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        before = {address.public_ip: address.eni for address in self.addresses}
        address = original(self, *args, **kwargs)
        if (left := before.get(address.public_ip)) is not None:
            instances.update_addresses(left.instance)
        instances.update_addresses(address.eni.instance)
        return address

    @instead_of(ElasticAddressBackend, "disassociate_address")
    def disassociate(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        before = {address.public_ip: address.eni for address in self.addresses}
        original(self, *args, **kwargs)
        for address in self.addresses:
            if address.eni is None and (left := before.get(address.public_ip)) is not None:
                instances.update_addresses(left.instance)

    # An image of a machine has what the machine had on its disk.
    @instead_of(AmiBackend, "create_image")
    def create_image(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        if instances.has_machine(made.instance):
            instances.capture(made.instance, made.id)
        return made

    @instead_of(AmiBackend, "deregister_image")
    def deregister_image(original: Any, self: Any, ami_id: str) -> None:
        original(self, ami_id)
        instances.machines.forget(ami_id)

    # What the machine wrote; moto has a text of 2006.
    @instead_of(General, "get_console_output")
    def console(original: Any, self: Any) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        if not instances.has_machine(instance):
            answer: ActionResult = original(self)
            return answer
        with contextlib.suppress(MachineError):
            instances.last_words[instance.id] = instances.machines.console(instance.id)
        output = instances.last_words.get(instance.id, "").encode()[-CONSOLE_BYTES:].decode(errors="replace")
        return ActionResult(
            {
                "InstanceId": instance.id,
                "Timestamp": utcnow(),
                "Output": Base64EncodedString.from_raw_string(output),
            }
        )
