"""Operating a deployed stack: its config, its providers' secrets, its clients' keys, and its health.

What belongs to the user rather than to CloudFormation is read and written here, each through the AWS API that
owns it. Functions take a `Client` (a service's name → its boto3 client), so that tests and other tools can bring
their own; only `aws.connect` imports boto3.
"""
