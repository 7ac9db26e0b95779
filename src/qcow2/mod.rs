//! The qcow2 format itself, pure: bytes in, validated values out, and back.
//!
//! No file, no path and no system call lives here. Nothing panics on any input, and no number from an
//! image is used before it was checked against [`limits`]. One file per concept of the specification
//! (QEMU's `docs/interop/qcow2`); where the specification and QEMU 10.0 differ, QEMU is followed.
//!
//! # What is understood
//!
//! "Kept" means that the bytes survive parsing and encoding without being understood. The tests are
//! named by the file whose tests they are among.
//!
//! | capability | state | proven by |
//! |---|---|---|
//! | header, versions 2 and 3 | read, written | `header`: `every_field_is_read_from_its_place`, `headers_made_by_qemu_img_encode_back_to_their_bytes`, `a_header_survives_a_round_trip` |
//! | QEMU's limits on header, extensions and tables | enforced, in 256 MiB of memory whatever an image says | `header`: `our_verdict_on_forged_headers_is_that_of_qemu_img`; `tests/core/verdict.rs`: `every_field_forged_in_every_way_gets_the_verdict_of_qemu`, `a_bitmap_table_as_long_as_the_format_allows_is_never_held_whole` |
//! | unknown header fields, extensions, feature bits | kept, bits named | `header`: `unknown_bits_fields_and_extensions_are_kept_and_named` |
//! | backing name and format | read, written, rewritten | `rewrite`: `any_rewrite_that_is_allowed_is_safe_at_every_moment`; `qcow2`: `qemu_img_reads_a_backing_name_we_rewrote` |
//! | change of the backing file, what every view shows kept | done, and undone | `tests/ops/rebase.rs`: `whatever_it_is_built_on_every_image_shows_what_it_showed`, `a_rebase_survives_every_crash_and_every_failing_call`; `tests/ops/flatten.rs`: `in_place_and_as_a_new_file_it_shows_what_it_showed`, `a_compressed_new_file_is_whole_or_not_there_after_every_crash_and_every_failing_call` |
//! | layers merged down and up, others kept intact | done, into qcow2 and raw | `tests/ops/commit.rs`: `keeping_the_overlay_does_what_qemu_img_commit_does`; `tests/ops/commit_range.rs`: `any_run_into_any_ancestor_leaves_every_other_image_as_it_was`; `tests/ops/squash.rs`: `whichever_way_every_other_image_shows_what_it_showed` |
//! | fixed header fields | rewritten in one sector write | `rewrite`: `fixed_fields_are_switched_by_one_write_of_just_those_bytes` |
//! | conversion between versions 2 and 3 | both ways; zero clusters become shared clusters of zeros in version 2 | `tests/ops/amend.rs`: `the_guest_sees_the_same_and_the_verdict_is_the_real_tools`, `the_way_to_version_2_survives_every_crash_and_every_failed_call`, `the_way_to_version_3_survives_every_crash_and_every_failed_call` |
//! | refcount width, lazy refcounts, compression type, data file of an image there is | changed in one header write | `tests/ops/amend.rs`: `another_width_survives_every_crash_and_every_failed_call`, `the_codec_changes_only_where_nothing_is_compressed`, `the_data_file_is_renamed_and_its_promise_taken_back` |
//! | L1 entries | read, written | `l1`: `any_entry_that_parses_encodes_to_itself_but_for_reserved_bits` |
//! | L2 entries, standard and extended | read, written, faults named | `l2`: `what_parses_encodes_back_to_the_same_meaning`, `what_qemu_stops_at_is_refused` |
//! | external data file | read, written, created; entries understood | `l2`: `offset_zero_with_the_copied_flag_is_a_place_only_in_a_data_file`; `tests/ops/create.rs`: `every_option_makes_what_qemu_img_makes_of_it`, `a_crash_leaves_the_image_whole_or_absent_and_never_without_its_data_file`; `tests/core/crash.rs`: `a_commit_into_a_base_with_a_data_file`, `a_commit_of_an_overlay_with_a_data_file`; `tests/ops/resize.rs`: `a_disk_with_a_data_file_survives_as_well` |
//! | creation: cluster size, compat, extended L2, refcount width, lazy refcounts, compression type, preallocation, backing or not | all of QEMU's | `tests/ops/create.rs`: `every_option_makes_what_qemu_img_makes_of_it`, `every_option_on_a_base_makes_what_qemu_img_makes_of_it`, `what_qemu_img_refuses_is_refused_and_nothing_is_made` |
//! | refcounts of 1 to 64 bits | read, written | `refcount`: `what_is_set_is_read_and_nothing_else_changes`; `qcow2`: `the_refcounts_of_an_image_made_by_qemu_img_count_its_clusters` |
//! | compressed clusters, zlib and zstd | read, written | `codec`: `a_cluster_survives_with_trailing_bytes_and_with_a_used_context`; `qcow2`: `images_made_by_qemu_img_read_as_the_bytes_they_were_made_from` |
//! | conversion: raw and qcow2 from any chain, compressed, sparse, from a snapshot, onto a base of the chain | all options of creation; bitmaps come along where asked for, snapshots stay behind | `tests/ops/convert.rs`: `whatever_it_is_made_of_and_made_into_the_guest_sees_the_same`, `compressed_images_are_no_larger_than_those_of_qemu_img_and_each_reads_the_others`, `a_base_further_down_can_be_kept_without_losing_the_layers_between`, `a_crash_leaves_the_new_image_whole_or_absent`; `tests/ops/bitmap.rs`: `bitmaps_come_along_in_a_conversion_as_with_the_real_tool`, `a_bitmap_that_nobody_may_trust_is_not_taken_along`, `a_crash_leaves_a_copy_with_all_its_bitmaps_or_none_at_all` |
//! | snapshot table | read, written, extra data kept | `snapshot`: `a_table_survives_a_round_trip`; `qcow2`: `snapshots_made_by_qemu_img_encode_back_to_their_bytes` |
//! | internal snapshots | listed, taken, applied, deleted, copied out; refused where the image has a data file | `tests/ops/snapshot.rs`: `whoever_takes_applies_and_deletes_both_see_the_same_and_call_it_clean`, `taking_a_snapshot_survives_every_crash`, `applying_a_snapshot_survives_every_crash`, `deleting_a_snapshot_survives_every_crash`, `writing_the_view_of_a_snapshot_survives_every_crash`, `what_a_machine_left_in_a_snapshot_is_kept_byte_for_byte`, `a_snapshot_copied_out_shows_what_the_real_tool_copies_out`, `a_snapshot_is_copied_out_whole_or_not_at_all_whenever_it_is_cut_off` |
//! | map, comparison and measure of an internal snapshot | as of the image it is applied to | `tests/cli/look.rs`: `what_an_internal_snapshot_shows_is_mapped_compared_and_measured`, `random_trees_are_mapped_compared_and_measured_as_by_qemu_img` |
//! | check | every reference compared with the counts, verdict as qemu-img's or stricter | `tests/core/verdict.rs`: `every_field_forged_in_every_way_gets_the_verdict_of_qemu`; `tests/core/check.rs`: `every_sample_image_gets_the_verdict_of_qemu_img_and_its_numbers` |
//! | repair | counts, flags, entries, tables in one place; what cannot be read is left and named | `tests/ops/repair.rs`: `one_forged_field_is_repaired_or_named`, `whatever_the_kind_of_image_its_repair_is_clean_and_can_be_taken_back`, `a_repair_survives_every_crash`, `taking_a_repair_back_survives_every_crash`, `a_repair_that_fails_anywhere_can_be_run_again` |
//! | virtual size | grown, with zeros said where an image below is longer, and shrunk; bitmaps follow | `tests/ops/resize.rs`: `a_disk_keeps_what_stays_and_reads_zero_where_it_is_new`, `growing_survives_every_crash_and_every_failed_call`, `shrinking_survives_every_crash_and_every_failed_call_and_leaks_nothing` |
//! | map of a chain | as `qemu-img map`, also of a chain that is cut; holes of preallocated images found | `tests/cli/look.rs`: `random_trees_are_mapped_compared_and_measured_as_by_qemu_img`, `clusters_in_holes_of_the_file_are_told_as_qemu_img_tells_them`, `a_chain_that_is_cut_is_mapped_as_far_as_it_goes` |
//! | comparing two chains | all differing sectors; shared places not read | `tests/cli/look.rs`: `random_trees_are_mapped_compared_and_measured_as_by_qemu_img`, `what_two_images_share_is_not_read` |
//! | measuring a new image | as `qemu-img measure` | `tests/cli/look.rs`: `an_empty_disk_is_measured_as_by_qemu_img`, `the_bitmaps_of_the_source_are_measured_as_by_qemu_img`; `tests/ops/luks_new.rs`: `an_encrypted_copy_is_measured_as_by_the_real_tool` |
//! | dirty bitmaps | listed, added, removed, cleared, enabled, disabled, merged; marked as in use where a write would miss them | `tests/ops/bitmap.rs`: `whatever_is_done_to_bitmaps_comes_out_as_with_the_real_tool`, `every_change_of_bitmaps_survives_every_crash_and_every_failed_call`, `every_writer_keeps_bitmaps_right_or_marks_them` |
//! | bitmap directory and tables | read, written; extra data refused | `bitmap`: `a_directory_survives_a_round_trip`; `qcow2`: `bitmaps_made_by_qemu_img_encode_back_to_their_bytes` |
//! | LUKS header | read, written | `luks`: `every_field_is_read_from_its_place`, `what_qemu_refuses_is_refused_by_the_name_of_the_field`, `any_bytes_are_parsed_or_refused` |
//! | content encrypted with LUKS: aes, serpent, twofish in the modes xts, cbc, ecb | read, written with a passphrase | `tests/ops/luks.rs`: `what_the_real_tool_encrypted_is_read_byte_for_byte`, `a_chain_of_encrypted_and_plain_layers_reads_as_the_real_tool_reads_it`, `what_we_encrypt_the_real_tool_reads_and_calls_clean`, `a_commit_into_an_encrypted_base_survives_every_crash`, `forged_luks_headers_are_refused_as_the_real_tool_refuses_them_and_never_hang` |
//! | creating LUKS-encrypted images, empty or by conversion: aes-256, xts, plain64, sha256, one key slot | done, with every other option of creation but a raw data file and compression, which are refused: the one would be noise, the other is not encrypted | `tests/ops/luks_new.rs`: `what_we_create_encrypted_the_real_tool_opens_writes_and_calls_clean`, `what_is_converted_to_and_from_encrypted_images_shows_the_same`, `any_chain_encrypted_under_any_options_shows_the_same`, `a_crash_leaves_the_new_encrypted_image_whole_or_absent`, `what_cannot_be_encrypted_is_refused_and_nothing_is_made` |
//! | every operation on LUKS-encrypted members of chains | done, with the passphrase where content moves | `tests/ops/luks_new.rs`: `every_operation_works_on_encrypted_images_with_their_passphrase` |
//! | key slots of LUKS images there are | listed, added, changed, erased | `tests/ops/luks_new.rs`: `key_slots_are_added_changed_and_erased_and_the_real_tool_opens_what_is_left`, `a_crash_never_leaves_an_image_that_opens_to_nobody` |
//! | other LUKS ciphers (cast5, the mode ctr, the hashes md5 and sm3) | refused by name: nobody uses them | `tests/ops/luks.rs`: `an_image_that_nobody_can_open_says_why` |
//! | legacy AES encryption | named, content not read | `header`: `encryption_without_a_header_of_its_own_is_called_unsupported` |

#![deny(clippy::indexing_slicing)]

pub mod bitmap;
pub mod codec;
pub mod compressed;
pub mod error;
pub mod extension;
pub mod feature;
pub mod geometry;
pub mod header;
pub mod l1;
pub mod l2;
pub mod limits;
pub mod luks;
pub mod refcount;
pub mod rewrite;
pub mod snapshot;
pub mod stretch;
pub mod table;

pub use codec::{Deflater, Inflater};
pub use compressed::CompressedCluster;
pub use error::FormatError;
pub use feature::{Autoclear, Compatible, Incompatible};
pub use geometry::{Geometry, GuestOffset, HostCluster, HostOffset};
pub use header::{CompressionType, CryptMethod, Header, Version, is_qcow2};
pub use l1::L1Entry;
pub use l2::{L2Buf, L2Context, L2Entry, SubclusterBitmap, SubclusterState};
pub use luks::LuksHeader;
pub use refcount::RefcountBlock;
pub use rewrite::{BackingEdit, HeaderEdit, rewrite};
pub use snapshot::Snapshot;
pub use stretch::{Stretch, stretches};
pub use table::EntryTable;

#[cfg(test)]
mod tests;
