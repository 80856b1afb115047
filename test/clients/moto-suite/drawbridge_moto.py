"""A plugin for pytest: moto's tests ask Drawbridge instead of moto.

What is changed of them is this: their mock is none; they are for the Regions and the account of this daemon; what stands for a policy
and is none (`my policy`) is left out; and no alias is there when one begins.
"""

import json
import os
from contextlib import nullcontext

import boto3
import moto
import moto.core
import pytest

made_by_boto3 = boto3.client


def mock_aws(function=None, config=None):
    return nullcontext() if function is None else function


def without_stand_in(params, **_):
    try:
        json.loads(params.get("Policy", "{}"))
    except ValueError:
        del params["Policy"]


# Those in which replicas are made; in any other place the daemon's first Region is meant.
FURTHER_REGIONS = ("us-west-1", "us-west-2")


def client(service, *_args, **kwargs):
    region = kwargs.get("region_name")
    served = region if region in FURTHER_REGIONS else os.environ["AWS_REGION"]
    made = made_by_boto3(service, **{**kwargs, "region_name": served})
    made.meta.events.register("provide-client-params.kms.CreateKey", without_stand_in)
    return made


moto.mock_aws = mock_aws
moto.core.DEFAULT_ACCOUNT_ID = client("sts").get_caller_identity()["Account"]
boto3.client = client


@pytest.fixture(autouse=True)
def no_aliases():
    kms = client("kms")
    for page in kms.get_paginator("list_aliases").paginate():
        for alias in page["Aliases"]:
            kms.delete_alias(AliasName=alias["AliasName"])
