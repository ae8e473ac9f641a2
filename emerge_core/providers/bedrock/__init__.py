"""Amazon Bedrock through its Converse API, signed with the AWS credentials of the process."""
