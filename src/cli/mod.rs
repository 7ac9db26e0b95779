//! The command line: what the person typed becomes a request, what came of it becomes text.

/// Runs the program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
