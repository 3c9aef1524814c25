"""The golden ext_proc messages that the unit tests read are what protobuf's own library writes."""
import importlib.util

from support import tree


def test_the_golden_messages_are_protobufs():
    spec = importlib.util.spec_from_file_location("write", tree.ROOT / "test" / "golden" / "extproc" / "write.py")
    write = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(write)
    assert write.text() == write.FILE.read_text()
