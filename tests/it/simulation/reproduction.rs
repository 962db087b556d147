//! Histories that once ended badly.

use super::op::{Name, Op};
use super::world::World;

#[test]
fn rows_without_a_key_are_no_duplicates_of_each_other_though_they_do_not_convert() {
    World::live(&[
        Op::PutUnkeyed(Name::TooLong),
        Op::PutUnkeyed(Name::TooLong),
        Op::Sync,
    ]);
}
