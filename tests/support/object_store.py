"""An S3 server in this process, as fixtures: import them into a conftest."""

from collections.abc import Iterator

import pytest

from bfs_platform.storage.path import RemotePath


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on the loopback interface, and the environment by which every client finds it. Yields its endpoint."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (settings | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}).items():
            patch.setenv(key, value)
        yield settings["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest) -> RemotePath:
    """An empty bucket of its own for each test."""
    from pyarrow.fs import FileSystem

    name = f"b{abs(hash(request.node.nodeid)):x}"
    FileSystem.from_uri("s3://any?allow_bucket_creation=true")[0].create_dir(name)
    return RemotePath("s3", name)
