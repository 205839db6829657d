"""Loaded by every Python child of a test that may not use the network."""

import sys

from refusal import refuse

sys.addaudithook(refuse)
