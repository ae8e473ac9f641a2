"""Measuring ensembles on recorded answers.

`recordings` is what is stored, and `record` makes it; `replay` serves it as upstreams, and `compare`
scores ensembles on it through the real proxy; `scoring` says what is right. `offline` computes from
arrays what the proxy would answer: `diversity` and `tune` rest on that, and `report` draws them.
"""
