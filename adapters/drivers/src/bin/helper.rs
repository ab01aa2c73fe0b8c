//! The helper by itself, for tests of the drivers; the product's binary answers to the same `__helper` argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == sublet_drivers::helper::WORD) {
        return sublet_drivers::helper::main(args);
    }
    eprintln!("this program is started by the drivers' tests only");
    ExitCode::FAILURE
}
