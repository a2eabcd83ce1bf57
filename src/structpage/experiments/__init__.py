"""Runs that answer a question: `compare`, `verdicts` of consumers, `conformance` to recorded scripts."""
