"""Hypothesis profiles: `quick` by default, `long` with STRUCTPAGE_PROFILE=long."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick",
    deadline=None,
    max_examples=25,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    settings.get_profile("quick"),
    max_examples=1000,
    stateful_step_count=100,
)
settings.load_profile(os.environ.get("STRUCTPAGE_PROFILE", "quick"))
