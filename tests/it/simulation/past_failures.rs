//! Histories that once failed.

use super::op::{Name, Op};
use super::world::World;

#[test]
fn rows_without_a_key_are_no_duplicates_of_each_other_though_they_do_not_convert() {
    World::live(
        0,
        &[
            Op::PutUnkeyed(Name::TooLong),
            Op::PutUnkeyed(Name::TooLong),
            Op::Sync,
        ],
    );
}

#[test]
fn a_row_without_a_key_that_does_not_convert_is_no_meter_that_the_remote_still_has() {
    World::live(
        0,
        &[
            Op::Put {
                key: 4,
                name: Name::Plain(0),
                active: true,
            },
            Op::Sync,
            Op::PutUnkeyed(Name::TooLong),
            Op::Remove(4),
            Op::Sync,
        ],
    );
}
