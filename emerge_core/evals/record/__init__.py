"""Makes recordings: asks models, asks adjudicators, reads logs."""
