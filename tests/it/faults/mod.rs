//! Whatever goes wrong, a run ends in an error code with a remedy, a row in the log, and the meters
//! as they were; and the process goes on serving.

mod bounds;
mod causes;
mod connecting;
mod hygiene;
mod matrix;
mod midway;
mod processes;
mod publications;
mod raised;
mod role_limits;
mod schemas;
mod sources;
mod starved;
mod waiting;
mod writes;
