"""What each hostile payload may come to, and which of them are harmless enough to be shown at work without a wall.

It runs nothing. A payload that is not named here is expected to run to its end and to bring back nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

HONEST_WORDS = "größe 大小 حجم 🧰 e\u0301"

Observed = Mapping[str, Any]
Judge = Callable[[Observed], str]


def contained(seen: Observed) -> str:
    """The payload ran to its end and got hold of nothing, or was killed for asking."""
    if seen["outcome"] == "failed" and "signal 31" in seen["content"]:
        return ""
    return "" if (seen["outcome"], seen["content"]) == ("succeeded", "[]") else "it got something"


def ends(outcomes: str = "", *, words: str = "", exactly: str | None = None, never: str = "forged") -> Judge:
    """One of the outcomes, one of the words (both separated by |), exactly this content, and never these words."""

    def judged(seen: Observed) -> str:
        if outcomes and seen["outcome"] not in outcomes.split("|"):
            return f"not {outcomes}"
        if words and not any(word in seen["content"] for word in words.split("|")):
            return f"without the words {words}"
        if exactly is not None and seen["content"] != exactly:
            return f"not {exactly!r}"
        return f"with the words {never}" if never and never in seen["content"] else ""

    return judged


def _contained_or_stopped(seen: Observed) -> str:
    stopped = seen["outcome"] == "failed" and "and was stopped" in seen["content"]
    return "" if stopped else contained(seen)


_MEMORY = ends("failed", words="MiB of memory")
_CPU = ends("timed_out", words="of CPU time")
_TIME = ends("timed_out", words="stopped after")
_HONEST = ends("succeeded", exactly="honest")
_ANY = ends()
_FAILED = ends("failed")
NO_ANSWER = ends("failed", words="gave no result|cannot be read|wrong form|more than 64 KiB|exited with")

# What the honest tools bring back.
_SAID = {
    "work_with_files": "a.zip,größe.old",
    "run_programs": "2 42",
    "report_exit_codes": "7 -9 -15",
    "use_threads": "4950 True",
    "use_a_database": "500",
    "compute": "61da85c8",
    "use_half_the_memory": "True",
    "answer_in_many_scripts": HONEST_WORDS,
    "know_the_time": "2:00:00 True",
    "know_the_locale": "utf-8 utf-8",
    "wait_for_several": "10 out",
    "return_a_model": '{"lines":["a","b"],"total":2.5}',
    "catch_signals": "[14]",
    "read_the_project": "notes",
    "use_a_process_pool": "[1, 2]",
    "talk_to_itself": "hello",
}

JUDGES: dict[str, Judge] = {
    **dict.fromkeys(("kill_everything", "kill_the_parent", "stop_everything", "flood_with_signals"), _ANY),
    **dict.fromkeys(("stay_as_daemon", "stay_as_a_sibling", "stay_by_reparenting", "hold_the_streams_open"), _ANY),
    **dict.fromkeys(("stay_in_a_crowd",), _FAILED),
    "stay_by_a_thread": ends("succeeded|failed"),
    "stay_and_never_return": _TIME,
    **dict.fromkeys(("bomb_by_forking", "bomb_by_spawning"), _ANY),
    "churn_through_processes": ends("succeeded|timed_out", words="churned|of CPU time"),
    "leave_zombies": ends("succeeded", exactly="left"),
    "rename_itself": ends("succeeded", exactly="/"),
    **dict.fromkeys(("take_memory", "take_memory_by_mapping", "take_memory_in_children"), _MEMORY),
    "unpack_a_bomb": ends("failed|timed_out", words="MiB of memory|of CPU time"),
    "take_memory_in_orphans": ends("failed", words="MiB of memory|processes and threads"),
    "take_memory_without_a_process": ends("failed", words="MiB of memory|not implemented|not permitted"),
    "take_memory_by_shared_segments": ends("failed", words="MiB of memory|not implemented|not permitted"),
    "take_memory_by_sockets_and_pipes": ends("succeeded|failed", words="filled|MiB of memory"),
    "give_a_huge_result": ends("succeeded", words="bytes cut out here"),
    **dict.fromkeys(("spin", "spin_in_children", "spin_deaf_to_signals", "match_for_ever", "compute_for_ever"), _CPU),
    "spin_in_orphans": ends("timed_out"),
    "spin_in_short_lives": ends("timed_out"),
    **dict.fromkeys(("sleep_for_ever", "wait_in_the_kernel"), _TIME),
    **dict.fromkeys(("flood_stdout", "flood_stderr"), ends("succeeded|failed", words="flooded|output")),
    "flood_every_descriptor": ends("timed_out|failed"),
    "flood_in_small_pieces": ends("timed_out|failed"),
    # Where the kernel does not limit it for the call alone, the whole call is stopped instead.
    **dict.fromkeys(("exhaust_processes", "exhaust_threads"), _contained_or_stopped),
    **dict.fromkeys(
        ("watch_many_files", "fill_the_disk", "fill_the_disk_with_names", "write_one_large_file", "make_a_sparse_file"),
        _contained_or_stopped,
    ),
    "dump_core": ends("failed", words="signal 11"),
    "recurse_without_end": ends("failed|timed_out"),
    "answer_everywhere_and_return": NO_ANSWER,
    "answer_twice": NO_ANSWER,
    "answer_with_half_a_character": ends("succeeded", exactly="x?"),
    "answer_and_fail": ends("failed", words="exited with status 1"),
    "answer_and_crash": ends("failed", words="signal 11"),
    "answer_and_hang": _TIME,
    **dict.fromkeys(("close_every_pipe", "put_other_files_in_place"), ends("failed", never="answered")),
    **dict.fromkeys(("leave_without_answer", "leave_by_exit"), ends("failed", words="gave no result")),
    "leave_by_exit_with_words": ends("failed", words="status 1", never=""),
    **dict.fromkeys(("answer_from_a_grandchild", "answer_from_a_thread"), ends("failed|succeeded", never="forged")),
    "answer_at_exit": ends("succeeded|failed", never="forged"),
    "replace_the_json_module": ends("succeeded|failed", never='"level"'),
    **dict.fromkeys(("replace_the_os_module", "replace_the_builtins"), ends("succeeded|failed|timed_out")),
    "replace_the_runner": ends("succeeded|failed|timed_out", never=""),
    "rewrite_the_callers_frames": ends("succeeded|failed", words="bytes cut out here|more than 64 KiB|MemoryError"),
    "replace_the_streams": ends("succeeded|failed"),
    "raise_the_base": ends("failed", words="BaseException: spiteful"),
    "raise_keyboard_interrupt": ends("failed", words="KeyboardInterrupt"),
    "raise_without_words": ends("failed", words="Spiteful|spiteful"),
    "raise_with_a_false_name": ends("failed", never=""),
    "raise_in_a_long_chain": ends("failed", words="ValueError: 999"),
    "raise_with_endless_words": ends("failed", words="bytes cut out here"),
    "return_a_surrogate": ends("succeeded", exactly="a\ufffdb\ufffdc"),
    "return_not_a_number": ends("succeeded|failed", never=":NaN"),
    **dict.fromkeys(("return_something_deep", "return_a_circle"), _FAILED),
    "return_a_liar": ends("succeeded|failed"),
    "return_control_characters": ends("succeeded"),
    "wait_for_the_answer_to_be_read": _HONEST,
    "swallow_the_end": _TIME,
    "draw_random_numbers": ends("succeeded"),
    "leave_the_random_state_known": ends("succeeded"),
    "return_the_secret": ends("succeeded", words="[secret TOKEN]"),
    "raise_the_secret": ends("failed", words="[secret TOKEN]"),
    "crash_with_the_secret": ends("failed", words="[secret TOKEN]"),
    "time_out_with_the_secret": _TIME,
    "encode_the_secret": ends("succeeded", words="[secret TOKEN]"),
    "use_the_secret": ends("succeeded", exactly="30"),
    **{name: ends("succeeded", exactly=content) for name, content in _SAID.items()},
    "raise_an_error": ends("failed", exactly="LookupError: no such customer: 4711"),
}

# What waits until it is stopped waits for so long only.
TIMEOUTS = dict.fromkeys(
    (
        "stay_and_never_return",
        "sleep_for_ever",
        "wait_in_the_kernel",
        "answer_and_hang",
        "swallow_the_end",
        "bomb_by_forking",
        "bomb_by_spawning",
        "time_out_with_the_secret",
        "flood_every_descriptor",
        "flood_in_small_pieces",
        "stop_everything",
        "replace_the_os_module",
        "replace_the_builtins",
        "replace_the_runner",
        "kill_the_parent",
    ),
    1.0,
) | {"spin_in_short_lives": 4.0}

# The second half of a payload that leaves something.
THEN = {
    "leave_in_globals": "look_in_globals",
    "leave_changed_functions": "look_for_changed_functions",
    "leave_in_the_environment": "look_in_the_environment",
    "leave_in_scratch": "look_in_scratch",
    "leave_in_scratch_for_good": "look_in_scratch_for_anything",
    "leave_a_process": "look_for_a_process",
    "leave_in_shared_memory": "look_in_shared_memory",
    "leave_in_a_posix_queue": "look_in_shared_memory",
    "leave_an_abstract_listener": "look_for_an_abstract_listener",
    "leave_open_files_locked": "look_for_a_lock",
    # These two return what they drew; the next call may draw none of it.
    "draw_random_numbers": "draw_random_numbers",
    "leave_the_random_state_known": "draw_random_numbers",
}

# Harmless to this machine, and shown to succeed where there is no wall; a payload that could not fail proves nothing.
BARE = {
    **dict.fromkeys(
        (
            "read_canaries",
            "read_another_project",
            "read_the_own_projects_secrets",
            "read_a_home",
            "climb_out_with_dots",
            "follow_a_symlink_out",
            "talk_to_the_machines_services",
            "connect_to_loopback",
            "connect_to_loopback_v6",
            "connect_to_the_machines_addresses",
            "connect_without_connect",
            "send_a_datagram",
            "connect_to_an_abstract_socket",
            "see_the_machines_ports",
            "see_other_processes",
            "signal_the_worker",
            "learn_about_canaries",
            "learn_about_the_worker",
            "stay_as_daemon",
            "stay_in_a_crowd",
            "stay_by_reparenting",
            "leave_in_scratch",
            "leave_a_process",
            "leave_an_abstract_listener",
            "trace_a_child",
            "use_keyrings",
        ),
        "everybody",
    ),
    **dict.fromkeys(
        (
            "read_other_processes_environment",
            "reach_through_proc",
            "trace_the_worker",
            "write_into_the_project",
            "change_the_projects_files",
            "mark_the_projects_files",
            "look_for_other_pools_secrets",
            "limit_the_worker",
        ),
        "same user",
    ),
    **dict.fromkeys(
        (
            "read_the_machines_secrets",
            "make_a_hard_link",
            "make_device_nodes",
            "open_the_kernels_switches",
            "open_by_handle",
            "open_raw_sockets",
            "jump_the_queue",
            "rename_the_machine",
            "set_the_clock",
            "load_a_bpf_program",
            "become_root",
            "watch_the_whole_file_system",
            "overwrite_the_interpreter",
        ),
        "root",
    ),
}

_BY_USER = "processes and threads are counted for the user, and looked at"
_AN_ENGINES_SCRATCH = "podman knows no limit for the number of files"
GAPS: dict[str, Mapping[str, str]] = {
    "fill_the_disk_with_names": {
        "shared": "no inode limit",
        "container": _AN_ENGINES_SCRATCH,
    },
    "watch_many_files": {"container": _AN_ENGINES_SCRATCH, "shared": "no inode limit"},
    "use_the_cgroup_tree": {"container": "engines show the control groups, read-only"},
    "fill_the_disk": {"landlock": "scratch is looked at while the call runs; who is quick may write more"},
    "exhaust_processes": {"landlock": _BY_USER},
    "exhaust_threads": {"landlock": _BY_USER},
    "learn_about_canaries": {"landlock": "Landlock does not hide that a file is there"},
    "learn_about_the_worker": {"landlock": "no pid namespace"},
    "mark_the_projects_files": {"landlock": "Landlock does not guard modes and times of the own user's files"},
    "use_a_process_pool": {"landlock": "no /dev/shm"},
}

RAW_ANSWERS = {
    "nothing_but_space": "  \n ",
    "not_json": "{",
    "not_a_number": '{"ok": true, "content": NaN, "truncated": false, "tools": []}',
    "infinity": '{"ok": true, "content": "x", "truncated": false, "tools": [Infinity]}',
    "a_list": "[]",
    "partial": '{"ok": true, "content": "forg',
    "wrong_types": '{"ok": 1, "content": "forged", "truncated": false, "tools": []}',
    "more_fields": '{"ok": true, "content": "forged", "truncated": false, "tools": [], "level": "ns"}',
    "a_byte_order_mark": '\ufeff{"ok": true, "content": "forged", "truncated": false, "tools": []}',
    "a_null_behind_it": '{"ok": true, "content": "forged", "truncated": false, "tools": []}\0',
    "no_utf8": "\xff\xfe",
    "content_is_no_text": '{"ok": true, "content": {"forged": 1}, "truncated": false, "tools": []}',
}
LONG_ANSWERS = {
    "a_very_deep_answer": {"start": "", "unit": "[", "times": 2_000_000},
    "a_very_deep_object": {
        "start": '{"ok":true,"content":"forged","truncated":false,"tools":',
        "unit": "[",
        "times": 200_000,
    },
    "a_number_of_ten_million_digits": {"start": '{"ok":', "unit": "7", "times": 10_000_000, "end": "}"},
    "a_number_of_five_thousand_digits": {
        "start": '{"ok":true,"content":"forged","truncated":false,"tools":[',
        "unit": "7",
        "times": 5_000,
        "end": "]}",
    },
    "an_endless_answer": {"start": "", "unit": " ", "times": 50_000_000},
    "a_million_fields": {"start": "{", "unit": '"a":0,', "times": 60_000, "end": '"ok":true}'},
}
