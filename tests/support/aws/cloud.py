"""A stand-in for an AWS account, on a port: moto's server, which knows neither the Serverless transform nor every
resource type of template.yaml. Both are added here, as far as `sam deploy`, an update and `sam delete` need them.

    python cloud.py PORT

The AWS tools' own Python runs it, since moto and SAM's translator are installed there. It invokes no function and
enforces no permission; what the translated template says is tested in test_template.py.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
os.environ.pop("AWS_ENDPOINT_URL", None)

import moto.cloudformation.parsing  # noqa: F401  (registers moto's own resource types)
from moto.apigateway.models import Deployment, RestAPI, apigateway_backends
from moto.awslambda.models import LambdaVersion, lambda_backends
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.s3.models import s3_backends
from resolve import Resolver  # type: ignore[import-not-found]  # found beside this file, which runs as a script
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ACCOUNT = "123456789012"  # moto's
MODULE = "moto.cloudformation.cloud"  # moto files its models by the service in their module's name
WITH_TEMPLATE = ("CreateChangeSet", "CreateStack", "UpdateStack", "ValidateTemplate", "GetTemplateSummary")
Start = Callable[[str, list[tuple[str, str]]], Any]


class Resource:
    """A resource type that moto lacks. A subclass creates and deletes it in moto's state; one that does neither
    exists by its name alone. moto looks at the direct subclasses of CloudFormationModel: so each is one."""

    type = ""
    name_property = ""
    attributes: tuple[str, ...] = ()

    def __init__(self, name: str, properties: Mapping[str, Any], account: str, region: str) -> None:
        self.properties, self.account, self.region = properties, account, region
        self.id = self.create(name, properties) or name

    def create(self, name: str, properties: Mapping[str, Any]) -> str | None:
        """Returns the physical id if it is not the name. Called again to update: it must replace what is there."""
        return None

    def remove(self) -> None:
        pass

    def attribute(self, name: str) -> str:
        return f"{self.id}.{name}"

    @property
    def physical_resource_id(self) -> str:
        return self.id

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.name_property

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in cls.attributes

    def get_cfn_attribute(self, name: str) -> str:
        return self.attribute(name)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> Any:
        return cls(resource_name, cloudformation_json.get("Properties", {}), account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Resource:
        kept = original_resource
        kept.properties = cloudformation_json.get("Properties", {})
        kept.id = kept.create(new_resource_name if cls.name_property else kept.id, kept.properties) or kept.id
        return kept

    def delete(self, account: str, region: str) -> None:
        self.remove()


class Stage(Resource, CloudFormationModel):
    __module__ = MODULE
    type, name_property = "AWS::ApiGateway::Stage", "StageName"

    def create(self, name: str, properties: Mapping[str, Any]) -> str:
        gateway = apigateway_backends[self.account][self.region]
        gateway.get_rest_api(properties["RestApiId"]).stages.pop(properties["StageName"], None)
        gateway.create_stage(properties["RestApiId"], properties["StageName"], properties["DeploymentId"])
        return str(properties["StageName"])


class UsagePlan(Resource, CloudFormationModel):
    __module__ = MODULE
    type, name_property = "AWS::ApiGateway::UsagePlan", "UsagePlanName"

    def create(self, name: str, properties: Mapping[str, Any]) -> str:
        gateway = apigateway_backends[self.account][self.region]
        for plan in list(gateway.usage_plans.values()):
            if plan.name == name:
                return str(plan.id)
        wanted: dict[str, Any] = {"name": name, "apiStages": [_camel(each) for each in properties.get("ApiStages", [])]}
        wanted |= {part.lower(): _camel(properties.get(part) or {}) for part in ("Throttle", "Quota")}
        return str(gateway.create_usage_plan(wanted).id)

    def remove(self) -> None:
        apigateway_backends[self.account][self.region].usage_plans.pop(self.id, None)


class Alarm(Resource, CloudFormationModel):
    __module__ = MODULE
    type, name_property, attributes = "AWS::CloudWatch::Alarm", "AlarmName", ("Arn",)

    def create(self, name: str, properties: Mapping[str, Any]) -> str:
        cloudwatch_backends[self.account][self.region].put_metric_alarm(
            name=name,
            namespace=properties.get("Namespace", ""),
            metric_name=properties.get("MetricName", ""),
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            period=int(properties.get("Period", 60)),
            threshold=float(properties["Threshold"]),
            statistic=properties.get("Statistic", ""),
            description=properties.get("AlarmDescription", ""),
            dimensions=properties.get("Dimensions", []),
            alarm_actions=[str(each) for each in properties.get("AlarmActions", [])],
        )
        return name

    def remove(self) -> None:
        cloudwatch_backends[self.account][self.region].delete_alarms([self.id])

    def attribute(self, name: str) -> str:
        return f"arn:aws:cloudwatch:{self.region}:{self.account}:alarm:{self.id}"


class Alias(Resource, CloudFormationModel):
    __module__ = MODULE
    type = "AWS::Lambda::Alias"

    def create(self, name: str, properties: Mapping[str, Any]) -> str:
        functions = lambda_backends[self.account][self.region]
        function, alias = properties["FunctionName"], properties["Name"]
        functions.delete_alias(alias, function)
        made = functions.create_alias(alias, function, str(properties["FunctionVersion"]).split(":")[-1], "", "")
        return str(made.arn)


class CapacityProvider(Resource, CloudFormationModel):
    __module__ = MODULE
    type, name_property, attributes = "AWS::Lambda::CapacityProvider", "CapacityProviderName", ("Arn",)

    def attribute(self, name: str) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:capacity-provider:{self.id}"


class BucketPolicy(Resource, CloudFormationModel):
    __module__ = MODULE
    type = "AWS::S3::BucketPolicy"


class GatewayAccount(Resource, CloudFormationModel):
    __module__ = MODULE
    type = "AWS::ApiGateway::Account"


class QueryDefinition(Resource, CloudFormationModel):
    __module__ = MODULE
    type, attributes = "AWS::Logs::QueryDefinition", ("QueryDefinitionId",)


class WebAclAssociation(Resource, CloudFormationModel):
    __module__ = MODULE
    type = "AWS::WAFv2::WebACLAssociation"


def _camel(given: Mapping[str, Any]) -> dict[str, Any]:
    """CloudFormation's property names as the APIs spell them."""
    return {name[0].lower() + name[1:]: value for name, value in given.items()}


def teach_moto() -> None:
    """What moto's own resource types miss: an API's Body, references to deployments and versions, and a stack's
    outputs after a change set."""
    apis: Any = RestAPI
    stacks: Any = CloudFormationBackend
    versions: Any = LambdaVersion
    deployments: Any = Deployment
    create_api, execute = apis.create_from_cloudformation_json.__func__, stacks.execute_change_set

    def create_with_body(cls: Any, /, name: str, given: Any, account: str, region: str, **more: Any) -> Any:
        properties = given["Properties"]
        document = properties.get("Body") or {}
        properties.setdefault("Name", document.get("info", {}).get("title") or name)
        api = create_api(cls, name, given, account, region, **more)
        gateway = apigateway_backends[account][region]
        for path, verbs in document.get("paths", {}).items():
            resource = _resource(gateway, api, path)
            for verb, method in verbs.items():
                keyed = any("key" in scheme for scheme in method.get("security", []))
                http = "ANY" if verb == "x-amazon-apigateway-any-method" else verb.upper()
                gateway.put_method(api.id, resource, http, "NONE", api_key_required=keyed)
                uri = method["x-amazon-apigateway-integration"]["uri"]
                gateway.put_integration(api.id, resource, http, "AWS_PROXY", uri, integration_method="POST")
        return api

    def execute_and_describe(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        execute(self, change_set_name, stack_name)
        for stack in self.stacks.values():
            done = [each for each in self.change_sets.values() if each.stack_id == stack.stack_id]
            if any(each.execution_status == "EXECUTE_COMPLETE" for each in done):
                stack._parse_template()
                stack.output_map = stack._create_output_map()
                stack.tags = stack.tags or done[-1].tags

    apis.create_from_cloudformation_json = classmethod(create_with_body)
    stacks.execute_change_set = execute_and_describe
    deployments.physical_resource_id = property(lambda self: self.id)
    versions.has_cfn_attr = classmethod(lambda cls, attr: attr == "Version")
    versions.get_cfn_attribute = lambda self, name: str(self.version)


def _resource(gateway: Any, api: Any, path: str) -> str:
    parent = next(each.id for each in gateway.get_resources(api.id) if each.path_part == "/")
    for part in filter(None, path.split("/")):
        siblings = [each for each in gateway.get_resources(api.id) if each.parent_id == parent]
        found = next((each for each in siblings if each.path_part == part), None)
        parent = (found or gateway.create_resource(api.id, parent, part)).id
    return str(parent)


class Front:
    """In front of moto: translates the templates that CloudFormation is given, with the parameters' values."""

    def __init__(self, app: Callable[[Any, Any], Iterable[bytes]]) -> None:
        self._app = app
        self._values: dict[str, dict[str, str]] = {}  # of each stack's parameters, for those that stay as they were

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST" and "cloudformation" in environ.get("HTTP_AUTHORIZATION", ""):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            if form.get("Action") in WITH_TEMPLATE:
                try:
                    body = urlencode(self._translated(form)).encode()
                except Exception as fault:
                    traceback.print_exc()
                    start("400 Bad Request", [("Content-Type", "text/xml")])
                    message = f"Transform AWS::Serverless-2016-10-31 failed: {fault!r}".replace("<", "&lt;")
                    error = f"<Error><Code>ValidationError</Code><Message>{message}</Message></Error>"
                    return [f"<ErrorResponse>{error}</ErrorResponse>".encode()]
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        return self._app(environ, start)

    def _translated(self, form: dict[str, str]) -> dict[str, str]:
        if url := form.pop("TemplateURL", None):
            form["TemplateBody"] = _uploaded(url)
        if "TemplateBody" not in form or form["Action"] == "GetTemplateSummary":
            return form
        template = yaml_parse(form["TemplateBody"])
        if "Serverless" in str(template.get("Transform")):
            known = self._values.setdefault(form.get("StackName", ""), {})
            known |= _parameters(form)
            translated = transform(template, dict(known), _NoManagedPolicies())
            template = {"Parameters": {}, "Outputs": {}, **translated}
            values = {name: value for name, value in known.items() if name in template["Parameters"]}
            template = _without_left_out(template, values)
            form = _with_values(form, known)
        return {**form, "TemplateBody": json.dumps(template)}


def _uploaded(url: str) -> str:
    host, path = urlsplit(url).hostname or "", urlsplit(url).path.lstrip("/")
    bucket, _, key = path.partition("/")
    if host.endswith("amazonaws.com") and not host.startswith("s3."):
        bucket, key = host.split(".s3")[0], path
    found: Any = s3_backends[ACCOUNT]["aws"].get_object(bucket, key)
    return str(found.value.decode())


def _parameters(form: Mapping[str, str]) -> dict[str, str]:
    named = {}
    for field, name in form.items():
        if match := re.fullmatch(r"Parameters\.member\.(\d+)\.ParameterKey", field):
            value = form.get(f"Parameters.member.{match[1]}.ParameterValue")
            if value is not None:
                named[name] = value
    return named


def _with_values(form: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The form with only the parameters that were ever given: for moto a parameter that keeps its default, but is
    named, has changed, and it cannot change every resource that refers to one."""
    named = [
        name for field, name in form.items() if field.startswith("Parameters.") and field.endswith(".ParameterKey")
    ]
    rest = {field: value for field, value in form.items() if not field.startswith("Parameters.")}
    for number, name in enumerate((each for each in named if each in values), 1):
        rest |= {f"Parameters.member.{number}.ParameterKey": name}
        rest |= {f"Parameters.member.{number}.ParameterValue": values[name]}
    return rest


def _without_left_out(template: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """With the conditions decided: moto cannot update what one leaves out, and keeps AWS::NoValue in lists."""
    resolver = Resolver(template, parameters)
    kept = {
        part: {name: _decided(each, resolver) for name, each in template[part].items()
               if "Condition" not in each or resolver.holds(each["Condition"])}
        for part in ("Resources", "Outputs")
    }  # fmt: skip
    return {**template, **kept}


def _decided(value: Any, resolver: Any) -> Any:
    if isinstance(value, list):
        return [_decided(each, resolver) for each in value if not _is_nothing(each, resolver)]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::If"}:
        condition, yes, no = value["Fn::If"]
        return _decided(yes if resolver.holds(condition) else no, resolver)
    return {name: _decided(each, resolver) for name, each in value.items() if not _is_nothing(each, resolver)}


def _is_nothing(value: Any, resolver: Any) -> bool:
    return bool(_decided(value, resolver) == {"Ref": "AWS::NoValue"}) if isinstance(value, dict) else False


class _NoManagedPolicies:
    def load(self) -> dict[str, str]:
        return {}


if __name__ == "__main__":
    from moto.server import DomainDispatcherApplication, create_backend_app  # type: ignore[attr-defined]
    from werkzeug.serving import run_simple

    teach_moto()
    run_simple("127.0.0.1", int(sys.argv[1]), Front(DomainDispatcherApplication(create_backend_app)), threaded=True)
