//! Reads and checks the arguments and the body of a request, for MCP and REST.

pub(crate) use caller_text::{actor, nearest, one_line, shorten};
pub(crate) use read_arguments::{Arguments, BadArgument, run_id};

pub(crate) mod bounds;
mod caller_text;
pub(crate) mod parse_json;
mod read_arguments;
pub(crate) mod read_body;
pub(crate) mod read_status_arguments;
