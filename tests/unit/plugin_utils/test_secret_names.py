# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables whose values are nobody's business, and names that only look like them."""

from __future__ import annotations

import pytest

from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.catalog import Catalog
from ansible_collections.amdgpu.fleet.plugins.plugin_utils._plan.checks import SECRET_NAME

SECRET = (
    "TOKEN", "WANDB_TOKEN", "GITHUB_PAT", "PASSWORD", "DB_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "REDIS_PASSWD", "SMTP_PASS",
    "GPG_PASSPHRASE", "SECRET", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY", "OPENAI_API_KEY", "APIKEY", "X_APIKEY",
    "PRIVATE_KEY", "SIGNING_KEY", "ENCRYPTION_KEY", "WANDB_KEY", "BASIC_AUTH", "PROXY_AUTHORIZATION", "SESSION_COOKIE", "AZURE_SAS",
    "SENTRY_DSN", "AWS_CREDENTIALS", "AUTH_BEARER", "NGC_CREDS", "hf_token",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_a_secret_is_known_by_its_name(name):
    assert SECRET_NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS", "MAX_TOKENS", "KEYBOARD", "PATH", "COMPASS"]
)
def test_another_name_is_none(name):
    assert not SECRET_NAME.fullmatch(name)


def test_no_variable_of_vllm_is_taken_for_one():
    vllm = Catalog().vllm
    known = [*vllm["environment"], *vllm["other_environment"], *vllm["known_environment"]]
    secret = {"VLLM_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "S3_SECRET_ACCESS_KEY"}
    assert known and [name for name in known if SECRET_NAME.fullmatch(name) and name not in secret] == []
