# SPDX-License-Identifier: GPL-3.0-or-later
"""ECS where moto's differs from AWS's."""

from __future__ import annotations

from typing import Any

from moto.ecs.models import Cluster, EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse

from .patching import instead_of

# By the parameter, the attribute of a service.
KEPT = {
    "capacityProviderStrategy": "capacity_provider_strategy",
    "deploymentConfiguration": "deployment_configuration",
    "enableExecuteCommand": "enable_execute_command",
    "healthCheckGracePeriodSeconds": "health_check_grace_period_seconds",
}


def gaps() -> None:
    """Close the gaps."""

    # A cluster always lists its capacity providers.
    @instead_of(Cluster, "__init__")
    def cluster(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.capacity_providers = self.capacity_providers or []
        self.default_capacity_provider_strategy = self.default_capacity_provider_strategy or []

    # A service keeps what it was made with; moto keeps some of it only when it is updated.
    @instead_of(EC2ContainerServiceResponse, "create_service")
    def create_service(original: Any, self: Any) -> Any:
        answer = original(self)
        for parameter, attribute in KEPT.items():
            if (value := self._get_param(parameter)) is not None:
                setattr(answer.result["service"], attribute, value)
        # It has one of the two; moto always has the first.
        if self._get_param("capacityProviderStrategy"):
            answer.result["service"].launch_type = None
        return answer

    # What has no tags has an empty list of them.
    @instead_of(EC2ContainerServiceBackend, "list_tags_for_resource")
    def list_tags_for_resource(original: Any, self: Any, resource_arn: str) -> Any:
        return original(self, resource_arn) or []

    # The deployment under way is what the service was told.
    @instead_of(EC2ContainerServiceResponse, "update_service")
    def update_service(original: Any, self: Any) -> Any:
        answer = original(self)
        service = answer.result["service"]
        for deployment in service.deployments:
            if deployment["status"] == "PRIMARY":
                deployment["taskDefinition"] = service.task_definition
                if network := self._get_param("networkConfiguration"):
                    deployment["networkConfiguration"] = network
        return answer
