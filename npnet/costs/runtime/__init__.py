"""Counting on a fake GPU: the parts of pipelines, networks and metrics at their full size, in seconds on a CPU."""
