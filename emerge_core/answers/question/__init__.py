"""What a request asks for: its form, its labels, its options."""
