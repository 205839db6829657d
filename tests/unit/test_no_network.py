"""The tests themselves run without a network; these show that the prohibition works."""

import socket
import subprocess
import sys

import pytest


def test_a_test_cannot_make_a_network_socket() -> None:
    with pytest.raises(RuntimeError, match="may not use the network"):
        socket.socket(socket.AF_INET)
    with pytest.raises(RuntimeError, match="may not use the network"):
        socket.getaddrinfo("localhost", 80)


def test_its_child_processes_cannot_either() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import socket; socket.socket()"], capture_output=True, text=True
    )
    assert child.returncode == 1
    assert "may not use the network" in child.stderr


@pytest.mark.network
def test_a_test_that_is_marked_can() -> None:
    socket.socket(socket.AF_INET).close()
