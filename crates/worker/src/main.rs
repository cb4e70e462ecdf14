//! The `sessiond` binary: the worker and its command line.

fn main() -> std::process::ExitCode {
    sessiond::cli::main()
}
