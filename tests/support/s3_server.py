"""A private S3 server on loopback, which keeps what it is sent in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "charter"
SECRET = "a-secret-for-tests"


def environment(url: str) -> dict[str, str]:
    """What a process needs in its environment to use it."""
    keys = {"AWS_ACCESS_KEY_ID": "charter", "AWS_SECRET_ACCESS_KEY": SECRET}
    return {**keys, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def run_s3() -> Iterator[str]:
    """A server with an empty bucket; its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        _client(url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        S3FileSystem.clear_instance_cache()  # which knows this server's address
        server.stop()


def objects(url: str, prefix: str) -> dict[str, bytes]:
    """What lies under a prefix, by the rest of its key."""
    client = _client(url)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def _client(url: str) -> "boto3.client":
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="charter",
        aws_secret_access_key=SECRET,
    )
