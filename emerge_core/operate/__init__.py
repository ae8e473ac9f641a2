"""Operating a deployed stack: its config, its secrets, its clients' keys, and whether it is well.

What belongs to the user rather than to CloudFormation is read and written here, each through the
AWS API that owns it. Functions take a `Client` (a service's name → its boto3 client), so that tests
and other tools bring their own; boto3 is imported by `aws.connect` alone.
"""
