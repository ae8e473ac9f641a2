"""The report: what a recording says of its models, on one page that needs neither network nor explanation."""
