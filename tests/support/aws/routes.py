"""Run by the AWS tools' own Python: what `sam local start-api` would serve of a template, as
`{path: [function, authorizer's function]}` in JSON."""

import json
import sys

from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider

stacks, _ = SamLocalStackProvider.get_stacks(sys.argv[1], parameter_overrides={})
routes = ApiProvider(stacks).api.routes
print(
    json.dumps(
        {each.path: [each.function_name, getattr(each.authorizer_object, "lambda_name", None)] for each in routes}
    )
)
