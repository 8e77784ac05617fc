"""The 64 attacks and faults that servers of this kind were broken by, each with the tests that try it here.

docs/reliability.md shows this table; `python -m tests.faults.cases` prints it.
"""

from __future__ import annotations

from typing import NamedTuple

HTTP = "tests/e2e/test_protocol_http.py"
PROTOCOL = "tests/e2e/test_protocol.py"
KILL = "tests/e2e/test_kill.py"
QUEUE = "tests/e2e/test_queue.py"
VALIDATE = "tests/graph/test_validate.py"
FILES = "tests/storage/test_files.py"
DOWNLOADS = "tests/server/test_downloads.py"
FAULTS = "tests/faults/protocol/test_protocol.py"
FAULT_FILES = "tests/faults/files/test_files.py"
PICKLE = "tests/weights/test_pickle.py"
SAFETENSORS = "tests/weights/test_safetensors.py"


class Case(NamedTuple):
    """`result` is what this server does; `tests` are `file::name`."""

    number: int
    what: str
    result: str
    tests: tuple[str, ...]


def _case(number: int, what: str, result: str, *tests: str) -> Case:
    return Case(number, what, result, tests)


CASES = (
    _case(1, "`POST /prompt` with `{`, `null`", "400", f"{HTTP}::test_bad_prompts_are_typed_400s"),
    _case(2, 'prompt is `[1]`, `"x"`, `{"1": null}`', "400", f"{HTTP}::test_bad_prompts_are_typed_400s"),
    _case(3, "JSON nested 100,000 deep", "400", f"{HTTP}::test_bad_prompts_are_typed_400s"),
    _case(4, "body of 101 MB", "413 before it is read", f"{HTTP}::test_body_over_the_limit_is_413"),
    _case(
        5, "NaN or Infinity as a number", "400", f"{HTTP}::test_bad_prompts_are_typed_400s", f"{VALIDATE}::test_what_is_no_finite_number"
    ),
    _case(6, 'queue number NaN, `"abc"`', "400", f"{FAULTS}::test_numbers_of_the_queue_must_be_numbers"),
    _case(
        7,
        '`"64"`, `true` for an integer',
        "text of a number is cast, as documented; `true` is 400",
        f"{VALIDATE}::test_texts_of_numbers_are_numbers_and_are_written_back",
        f"{VALIDATE}::test_what_is_no_whole_number",
    ),
    _case(
        8, "object for an integer; 10^400; -1", "400", f"{VALIDATE}::test_what_is_no_whole_number", f"{VALIDATE}::test_ranges_have_two_ends"
    ),
    _case(9, "unknown class", "400 with a hint", f"{VALIDATE}::test_unknown_types_are_refused_first"),
    _case(10, 'dangling link; slot 7; slot "0"', "400", f"{VALIDATE}::test_links_that_lead_nowhere"),
    _case(11, "slot -1", "400", f"{HTTP}::test_bad_prompts_are_typed_400s"),
    _case(12, "cycle; node linked to itself", "400 naming the nodes", f"{VALIDATE}::test_loops_are_named"),
    _case(13, "chain of 3,000 nodes", "runs", f"{FAULTS}::test_a_chain_of_three_thousand_nodes_runs"),
    _case(14, "30 stacked diamonds", "runs, each node once", f"{FAULTS}::test_thirty_stacked_diamonds_are_no_work"),
    _case(15, "duplicate keys; NUL or 1 MB as node id", "400", f"{HTTP}::test_bad_prompts_are_typed_400s"),
    _case(16, "same job id twice", "409", f"{HTTP}::test_ids_of_clients_are_kept_and_unique"),
    _case(
        17,
        "six jobs of one number and id while busy",
        "one accepted, five 409, later jobs run",
        f"{HTTP}::test_equal_numbers_and_ids_while_busy",
    ),
    _case(18, "no output node", "400", f"{VALIDATE}::test_there_must_be_an_output"),
    _case(19, "JSON sent as text/plain", "415", f"{HTTP}::test_foreign_pages_are_refused"),
    _case(
        20,
        "100,000 x 100,000 pixels; batch of 10^9",
        "400 with the numbers",
        "tests/graph/test_estimate.py::test_what_cannot_fit_is_refused_with_its_numbers",
        f"{HTTP}::test_what_cannot_fit_is_refused_at_submit",
    ),
    _case(
        21, "wrong shapes to /interrupt, /queue, /history, /free", "400", f"{HTTP}::test_bad_bodies_elsewhere", f"{HTTP}::test_bad_queries"
    ),
    _case(
        22,
        "cancel A while B runs",
        "B unharmed",
        "tests/faults/cancellation/test_cancellation.py::test_cancelling_one_job_leaves_the_running_one_alone",
        "tests/faults/cancellation/test_cancellation.py::test_a_cancel_between_two_jobs_hits_neither",
    ),
    _case(23, "/view with ../, %2f, %5c, absolute, subfolder", "400 or 403", f"{HTTP}::test_view"),
    _case(24, "%00; name of 5,000 characters", "400", f"{HTTP}::test_view"),
    _case(
        25,
        "symbolic link in input to /etc",
        "403",
        f"{HTTP}::test_view",
        "tests/base/test_paths.py::test_links_are_followed_before_the_check",
    ),
    _case(26, "upload named ../../x; subfolder ../..", "400", f"{HTTP}::test_bad_uploads"),
    _case(
        27,
        "upload with NUL, 300 characters, no file, wrong type, wrong mask",
        "400",
        f"{HTTP}::test_bad_uploads",
        f"{HTTP}::test_upload_without_file_or_form",
        f"{HTTP}::test_mask",
    ),
    _case(
        28,
        "CON.png, `a:ads`, trailing dot, `C:\\x`, `\\\\h\\s`",
        "400",
        f"{FAULT_FILES}::test_names_that_mean_something_else_elsewhere_are_refused",
        f"{HTTP}::test_bad_uploads",
    ),
    _case(
        29,
        "upload svg, xml, html, and look at it",
        "attachment or octet-stream, nosniff, sandbox",
        f"{HTTP}::test_active_content_is_never_inline",
    ),
    _case(30, "html as user data", "octet-stream", f"{HTTP}::test_userdata"),
    _case(31, "/userdata/..%2f, absolute, other files of the server", "403", f"{HTTP}::test_userdata"),
    _case(32, "model preview with ..%2f", "404", f"{HTTP}::test_model_files"),
    _case(33, "graph input ../../../etc/passwd", "400 at submit", f"{VALIDATE}::test_files_elsewhere_may_not"),
    _case(
        34,
        "filename_prefix ../../x",
        "400 at submit",
        f"{VALIDATE}::test_a_prefix_that_leaves_the_output_directory_is_refused_before_anything_runs",
    ),
    _case(
        35,
        "20 KB PNG of 169 million pixels",
        "413 from its header",
        f"{HTTP}::test_view",
        f"{FILES}::test_huge_picture_is_refused_from_its_header",
    ),
    _case(
        36,
        "animation of very many frames; text of 1 GB; zip bomb",
        "bounded",
        f"{FAULT_FILES}::test_pictures_that_unfold_are_bounded",
        "tests/workflow/test_metadata.py::test_bombs_are_not_unfolded",
    ),
    _case(37, "preview=webp;10^20", "400", f"{HTTP}::test_view"),
    _case(38, "file that is PNG and HTML", "typed by content", f"{FILES}::test_type_comes_from_the_content"),
    _case(39, "pickle that runs a command", "refused, nothing ran", f"{PICKLE}::test_nothing_ever_runs", f"{PICKLE}::test_hostile_pickles"),
    _case(
        40,
        "safetensors: header lengths, overlaps, shapes, cut off",
        "typed error naming the file",
        f"{SAFETENSORS}::test_broken_headers",
        f"{SAFETENSORS}::test_any_truncation_is_a_bad_file",
        f"{SAFETENSORS}::test_any_flipped_byte_is_a_bad_file_or_harmless",
    ),
    _case(
        41,
        "download from private addresses, file://, redirects, DNS",
        "refused",
        f"{DOWNLOADS}::test_what_is_refused_before_anything_is_asked",
        f"{DOWNLOADS}::test_redirects_to_private_places_are_refused",
        f"{DOWNLOADS}::test_names_that_resolve_to_this_machine_are_refused",
    ),
    _case(
        42,
        "download broken off; wrong hash",
        "nothing under the final name; resumed",
        f"{DOWNLOADS}::test_a_broken_connection_is_taken_up_where_it_broke",
        f"{DOWNLOADS}::test_a_wrong_hash_leaves_nothing",
        f"{DOWNLOADS}::test_a_cancelled_one_leaves_no_file_under_its_name",
    ),
    _case(43, "foreign Origin; null; foreign Host", "403", f"{HTTP}::test_foreign_pages_are_refused"),
    _case(44, "websocket with a foreign Origin; null", "403", f"{HTTP}::test_foreign_pages_get_no_socket"),
    _case(
        45, "0.0.0.0 without a token", "does not start", "tests/server/test_access.py::test_nobody_listens_to_the_network_without_a_token"
    ),
    _case(
        46,
        "user A reads or cancels a job of B",
        "404",
        f"{QUEUE}::test_users_have_files_queues_and_histories_of_their_own",
        f"{QUEUE}::test_a_user_cannot_interrupt_or_listen_to_another",
    ),
    _case(
        47,
        "line ends in a setting",
        "400 (a bare LF inside a text is kept: it is stored as JSON)",
        f"{FAULTS}::test_line_ends_are_no_part_of_a_setting",
    ),
    _case(
        48,
        "two sockets of one client id, the first closes",
        "the second goes on",
        f"{PROTOCOL}::test_second_socket_keeps_receiving_when_the_first_closes",
    ),
    _case(
        49,
        "many sockets, some that never read",
        "the others are served",
        f"{FAULTS}::test_a_hundred_sockets_and_some_that_never_read",
        "tests/server/test_hub.py::test_socket_that_never_reads_is_dropped_and_others_are_served",
    ),
    _case(
        50,
        "10 MB frame; bad UTF-8; flood",
        "1009, 1007, unharmed",
        f"{FAULTS}::test_frames_that_are_too_large_or_no_text_close_their_socket",
        f"{FAULTS}::test_a_flood_of_frames_harms_nobody",
    ),
    _case(51, "head or body that never ends", "dropped after --request-timeout", f"{FAULTS}::test_a_request_that_never_ends_is_dropped"),
    _case(
        52,
        "client gone during a run",
        "the job ends; events are told again",
        f"{PROTOCOL}::test_missed_events_are_told_again",
        f"{PROTOCOL}::test_replay_while_events_flow_loses_and_repeats_nothing",
    ),
    _case(53, "upload broken off", "no file", f"{HTTP}::test_upload_that_is_aborted_leaves_nothing"),
    _case(
        54,
        "kill -9 during a run, restart",
        "queue kept, job repeated, no half file",
        f"{KILL}::test_killed_front_keeps_queue_and_history_and_leaves_no_orphan",
        f"{KILL}::test_what_was_accepted_survives_a_kill_at_any_moment",
        "tests/faults/soak/test_soak.py::test_nothing_accepted_is_lost_at_random_kills",
    ),
    _case(
        55,
        "SIGTERM during a run",
        "a short job ends, a long one waits for the next start",
        f"{KILL}::test_sigterm_lets_a_short_job_end",
        f"{KILL}::test_sigterm_puts_the_running_job_back",
    ),
    _case(
        56,
        "full disk while saving over a file",
        "507, the old file stays",
        f"{FAULT_FILES}::test_a_full_disk_keeps_the_old_file",
        f"{FILES}::test_full_disk_is_named_and_destroys_nothing",
    ),
    _case(
        57,
        "output directory gone during a run",
        "that job fails with a sentence",
        f"{FAULT_FILES}::test_an_output_directory_that_vanishes_fails_that_job_alone",
        f"{FILES}::test_unwritable_place_is_a_sentence",
    ),
    _case(58, "two servers on one data directory", "the second does not start", f"{KILL}::test_second_server_on_the_same_data_is_refused"),
    _case(
        59,
        "worker crashes, is killed, hangs",
        "cause named, restarted, next job runs",
        f"{KILL}::test_death_is_survived_and_the_job_is_tried_again",
    ),
    _case(
        60,
        "memory of the device runs out",
        "freed, one more try in less memory, next job runs",
        "tests/engine/test_executor.py::test_a_node_that_ran_out_of_memory_is_called_once_more_with_less_kept",
        "tests/faults/models/test_memory.py::test_memory_that_runs_out_anywhere_costs_no_run_but_its_own",
    ),
    _case(61, "job that kills its worker three times", "set aside with the cause", f"{KILL}::test_poison_is_quarantined_with_its_cause"),
    _case(
        62,
        "database locked, damaged; clock jumps",
        "waited for; kept aside; no effect",
        "tests/faults/storage/test_storage.py::test_a_database_that_is_locked_for_a_while_is_waited_for",
        "tests/faults/storage/test_storage.py::test_a_clock_that_jumps_back_changes_no_order",
        f"{KILL}::test_damaged_database_is_kept_and_replaced",
    ),
    _case(
        63,
        "pack raises, exits, ends or crashes the process, sleeps, recurses, floods the log, replaces our functions, takes names",
        "server starts, pack named, what it replaced put back, others unharmed",
        "tests/faults/packs/test_packs.py::test_packs_that_misbehave_at_import_are_named_and_the_server_runs",
        "tests/packs/test_loader.py::test_no_fault_of_a_pack_harms_another",
        "tests/faults/packs/test_packs.py::test_a_flood_of_lines_is_cut_and_counted",
    ),
    _case(64, "very many jobs", "memory and handles stay", "tests/faults/soak/test_soak.py::test_jobs_leave_nothing_behind"),
)


def table() -> str:
    """The table of docs/reliability.md."""
    lines = ["| # | Case | What happens | Tests |", "|---|---|---|---|"]
    for case in CASES:
        names = ", ".join(f"`{test.rsplit('/', 1)[-1]}`" for test in case.tests)
        lines.append(f"| {case.number} | {case.what} | {case.result} | {names} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
