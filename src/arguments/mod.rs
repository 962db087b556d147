//! Reads and checks the arguments and the body of a request, for MCP, REST and the
//! command line.

pub(crate) use arguments_by_name::{Arguments, BadArgument, run_id};
pub(crate) use clean_caller_text::{actor, nearest, one_line, shorten};

mod arguments_by_name;
pub(crate) mod bounds;
pub(crate) mod change_kinds;
mod clean_caller_text;
pub(crate) mod future_time;
pub(crate) mod parse_json;
pub(crate) mod past_time;
pub(crate) mod read_body_bytes;
pub(crate) mod read_status_arguments;
