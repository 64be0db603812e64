//! `stellwerk`: the host's side of the Stellwerk storage driver domain. All of it is in the library.

fn main() -> std::process::ExitCode {
    stellwerk::cli::main()
}
