"""Which lines of a broker's log a failed test is shown."""

from __future__ import annotations

import pytest

from pytest_testbed.rabbitmq.logs import of_vhost

MINE, OTHER = "testbed_0123456789ab_1", "testbed_0123456789ab_12"
AT = "2024-05-01 12:00:00.123456+00:00 "


@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        (f"{AT}[error] <0.1.0> in vhost '{MINE}': no queue", True),
        (f"{AT}[error] <0.1.0> in vhost '{OTHER}': no queue", False),
        (f"{AT}[error] <0.1.0> in vhost 'testbed_ffffffffffff_gw0': no queue", False),
        (f"{AT}[warning] <0.1.0> memory resource limit alarm set", True),
        (f"{AT}[warning] no process at all", True),
        (f"{AT}[info] <0.1.0> in vhost 'shop': something of the user's", True),
        (f'{AT}[warning] <0.1.0> Message store "{MINE}/msg_store": rebuilding indices from scratch', False),
        (f"{AT}[info] <0.1.0> Closing all connections in vhost '{MINE}' because it's being deleted", False),
        ("a line from before the cut", True),
        ("", True),
    ],
)
def test_a_line_by_itself(line: str, is_kept: bool) -> None:
    assert of_vhost(line, MINE) == (line if is_kept else "")


def test_lines_of_one_process_belong_to_the_virtual_host_that_one_of_them_names() -> None:
    mine = [
        f"{AT}[info] <0.7.0> accepting AMQP connection",
        f"{AT}[info] <0.7.0> connection: user 'u' authenticated and granted access to vhost '{MINE}'",
        f"{AT}[error] <0.7.0> Channel error on connection",
        "operation queue.declare caused a channel exception: not_found",
        "",
    ]
    others = [
        f"{AT}[info] <0.8.0> accepting AMQP connection",
        f"{AT}[info] <0.8.0> connection: user 'u' authenticated and granted access to vhost '{OTHER}'",
        f"{AT}[error] <0.8.0> Channel error on connection",
        "operation basic.publish caused a channel exception: not_found",
    ]
    assert of_vhost("\n".join([*others, *mine, *others]), MINE) == "\n".join(mine)
    assert of_vhost("\n".join([*mine, *others]), OTHER) == "\n".join(others)


def test_a_log_that_begins_with_another_s_record_does_not_show_how_it_goes_on() -> None:
    assert of_vhost(f"{AT}[error] <0.8.0> in vhost '{OTHER}':\nits second line\n{AT}[info] all", MINE) == f"{AT}[info] all"
