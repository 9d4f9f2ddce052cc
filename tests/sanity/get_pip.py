"""Stands in for the get-pip script that ansible-test would download: the pip that Python itself ships is
enough."""

import ensurepip

ensurepip.bootstrap(default_pip=True)
