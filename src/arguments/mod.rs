//! Reads and checks the arguments of a call and the request body, for MCP and REST alike.

pub(crate) use caller_text::{actor, nearest, one_line, shorten};
pub(crate) use read_arguments::{Arguments, BadArgument, run_id};

pub(crate) mod bounds;
mod caller_text;
pub(crate) mod parse_json;
mod read_arguments;
pub(crate) mod read_body;
pub(crate) mod read_status_arguments;
