//! Puts an initrd together by hand: `initrd INIT MODULES_FOLDER OUTPUT`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [init, modules, to] = args.as_slice() else { return Err("usage: initrd INIT MODULES_FOLDER OUTPUT".into()) };
    Ok(sublet_drivers::initrd::write(Path::new(init), Path::new(modules), Path::new(to))?)
}
